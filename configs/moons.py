"""A network of your own, a Flax module: a turned, scaled pair of moons → a classifier.

python -m launch.run --config configs/moons.py --workdir runs/moons
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcdi_jax import TaskFamily
from mcdi_jax.families import Metric
from mcdi_jax.pipeline import Suite, own_config
from mcdi_jax.tasks import Query, Support, Task
from mcdi_jax.weights import Cut

NETWORK = nn.Sequential([nn.Dense(24), nn.relu, nn.Dense(24), nn.relu, nn.Dense(1)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moons(TaskFamily):
  name = "moons"
  metric = Metric("accuracy", "%", 100.0)
  item_shape = (2,)
  cuts = {"*": Cut("chunks", size=96)}

  def draw_task(self, key, items, ways):  # items: angle, size and noise [n, 3]
    return jax.random.randint(key, (), 0, len(items))

  def examples(self, key, items, task, protocol, *, form=None):
    angle, size, noise = items[task]
    k_along, k_noise = jax.random.split(key)
    number = protocol.shots + protocol.queries
    y = jnp.arange(number) % 2
    t = jnp.pi * (jax.random.uniform(k_along, (number,)) + y)
    x = jnp.stack([jnp.cos(t) + y - 0.5, jnp.sin(t) + 0.25 - 0.5 * (1 - y)], 1)
    x = x + noise * jax.random.normal(k_noise, x.shape)
    turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    x, k = size * x @ turn, protocol.shots
    return Task(Support(x[:k], y[:k]), Query(x[k:], y[k:]))

  def fresh(self, key):
    return NETWORK.init(key, jnp.zeros((1, 2)))["params"]

  def apply(self, frozen, params, x):
    return NETWORK.apply({"params": params}, x)[:, 0]

  def loss(self, output, y):
    return optax.sigmoid_binary_cross_entropy(output, y.astype(output.dtype))

  def quality(self, output, query):
    return jnp.mean((output > 0) == query.y)


FAMILY = Moons()


def get_suite():
  rng = np.random.default_rng(0)
  low, high = (0, 0.5, 0.05), (2 * np.pi, 2, 0.2)
  draw = lambda n: np.float32(rng.uniform(low, high, (n, 3)))  # noqa: E731
  return Suite(draw(4000), draw(500), {"moons-unseen": draw(500)})


def get_config():
  config = own_config()
  config.meta.shots = (10,)
  config.preparation.queries = 90
  return config
