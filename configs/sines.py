"""A network of your own, a plain function: ten points of a sine → the weights that fit it.

python -m launch.run --config configs/sines.py --workdir runs/sines
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax import TaskFamily
from mcdi_jax.pipeline import Suite, own_config
from mcdi_jax.tasks import Query, Support, Task
from mcdi_jax.weights import Cut

SIZES = (1, 40, 40, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sines(TaskFamily):
  name = "sines"
  item_shape = (1,)
  cuts = {"*": Cut("chunks", size=128)}  # of all leaves

  def draw_task(self, key, items, ways):  # items: amplitude and phase [n, 2]
    return jax.random.randint(key, (), 0, len(items))

  def examples(self, key, items, task, protocol, *, form=None):
    amplitude, phase = items[task]
    number = protocol.shots + protocol.queries
    x = jax.random.uniform(key, (number, 1), minval=-5, maxval=5)
    y, k = amplitude * jnp.sin(x[:, 0] + phase), protocol.shots
    return Task(Support(x[:k], y[:k]), Query(x[k:], y[k:]))

  def fresh(self, key):
    keys = jax.random.split(key, len(SIZES) - 1)
    return {
      f"layer_{n}": {
        "kernel": jax.random.normal(keys[n], (a, b)) * (2 / a) ** 0.5,
        "bias": jnp.zeros(b),
      }
      for n, (a, b) in enumerate(itertools.pairwise(SIZES))
    }

  def apply(self, frozen, params, x):
    for n in range(len(SIZES) - 1):
      x = x @ params[f"layer_{n}"]["kernel"] + params[f"layer_{n}"]["bias"]
      x = jax.nn.relu(x) if n < len(SIZES) - 2 else x[:, 0]
    return x

  def loss(self, output, y):
    return (output - y) ** 2


FAMILY = Sines()


def get_suite():
  rng = np.random.default_rng(0)
  draw = lambda n: np.float32(rng.uniform([0.1, 0], [5, np.pi], (n, 2)))  # noqa: E731
  return Suite(draw(4000), draw(500), {"sines-unseen": draw(500)})


def get_config():
  config = own_config()
  config.meta.shots = (10,)
  config.preparation.queries = 90
  return config
