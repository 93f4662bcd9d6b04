"""How many queries a method gets right, task by task, on precomputed features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.baselines import Method
from mcdi_jax.data import ClassSet
from mcdi_jax.lib.keys import key_for
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Protocol, Task, sample_task

_BATCH = 100  # tasks at a time


def task_keys(seed: int, tasks: int, purpose: str = "test") -> Key[Array, " n"]:
  """One key a task; they alone, with set and protocol, say what the tasks are."""
  return jax.random.split(key_for(seed, f"{purpose} tasks"), tasks)


def draw_task(
  key: Key[Array, ""], features: ClassSet, protocol: Protocol
) -> tuple[Task, Any]:
  """A test task, and the key for the method that adapts to it."""
  k_task, k_method = jax.random.split(key)
  return sample_task(k_task, features, protocol), k_method


@functools.partial(jax.jit, static_argnames=("adapt", "protocol"))
def _counts(
  variables: Any,
  keys: Array,
  features: ClassSet,
  adapt: Any,
  protocol: Protocol,
) -> Array:
  def one(key: Key[Array, ""]) -> Array:
    task, k_method = draw_task(key, features, protocol)
    params = adapt(variables, task.support, k_method, protocol.ways)
    predicted = apply_head(params, task.query.x).argmax(-1)
    return jnp.sum(predicted == task.query.y)

  return jax.lax.map(one, keys, batch_size=min(_BATCH, len(keys)))


def correct_counts(
  method: Method, features: ClassSet, protocol: Protocol, keys: Key[Array, " n"]
) -> np.ndarray:
  """int [n]: correct answers of N·Q in each task, labels never shown to the method."""
  return np.asarray(_counts(method.variables, keys, features, method.adapt, protocol))


def choose(
  trials: list[Method], features: ClassSet, protocol: Protocol, keys: Key[Array, " n"]
) -> Method:
  """The trial with the most correct answers on the given (validation) tasks."""
  totals = [correct_counts(m, features, protocol, keys).sum() for m in trials]
  return trials[int(np.argmax(totals))]
