"""A network of your own, a module that is a pytree, as other libraries have them: some
steps of a damped spring → a network that goes on from any state.

  python -m launch.run --config configs/springs.py --workdir runs/springs
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax import TaskFamily
from mcdi_jax.pipeline import Suite, own_config
from mcdi_jax.tasks import Query, Support, Task
from mcdi_jax.weights import Cut, leaves_by_path, merged, nested


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Step:
  inner: jax.Array
  bias: jax.Array
  outer: jax.Array

  def __call__(self, state):
    return state + jnp.tanh(state @ self.inner + self.bias) @ self.outer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Springs(TaskFamily):
  name = "springs"
  item_shape = (2,)
  cuts = {"inner": Cut("rows", 1), "*": Cut("chunks", size=32)}

  def example(self, form):
    return Support(jnp.zeros((form.shots, 2)), jnp.zeros((form.shots, 2)))

  def draw_task(self, key, items, ways):  # items: stiffness and damping [n, 2]
    return jax.random.randint(key, (), 0, len(items))

  def examples(self, key, items, task, protocol, *, form=None):
    stiffness, damping = items[task]
    x = jax.random.normal(key, (protocol.shots + protocol.queries, 2))
    motion = jnp.array([[0.0, -stiffness], [1.0, -damping]])  # of place and speed
    y, k = x @ jax.scipy.linalg.expm(0.5 * motion), protocol.shots
    return Task(Support(x[:k], y[:k]), Query(x[k:], y[k:]))

  def fresh(self, key):
    inner, outer = (0.5 * jax.random.normal(k, (2, 16)) for k in jax.random.split(key))
    return nested(leaves_by_path(Step(inner, jnp.zeros(16), outer.T)))

  def apply(self, frozen, params, x):
    empty = jnp.zeros(0)
    return merged(Step(empty, empty, empty), params)(x)

  def loss(self, output, y):
    return jnp.sum((output - y) ** 2, -1)


FAMILY = Springs()


def get_suite():
  rng = np.random.default_rng(0)
  draw = lambda n: np.float32(rng.uniform([0.5, 0], [4, 2], (n, 2)))  # noqa: E731
  return Suite(draw(4000), draw(500), {"springs-unseen": draw(500)})


def get_config():
  config = own_config()
  config.meta.shots = (10,)
  config.preparation.queries = 90
  return config
