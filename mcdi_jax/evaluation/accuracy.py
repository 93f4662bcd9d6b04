"""How many queries a method gets right, task by task and class by class."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.keys import key_for
from mcdi_jax.methods import Method
from mcdi_jax.tasks import Protocol, Task, sample_task, task_classes

_BATCH = 100  # tasks at a time


class Counts(NamedTuple):
  """Outcomes on a list of tasks.

  Attributes:
    right: int [tasks, N]; right answers, of Q queries of each class of each task.
    classes: int [tasks, N]; which class of the set that is.
  """

  right: np.ndarray
  classes: np.ndarray


def task_keys(seed: int, tasks: int, purpose: str = "test") -> Key[Array, " n"]:
  """One key a task; they alone, with set and protocol, say what the tasks are."""
  return jax.random.split(key_for(seed, f"{purpose} tasks"), tasks)


def draw_task(
  key: Key[Array, ""], features: ClassSet, protocol: Protocol
) -> tuple[Task, Int[Array, " N"], Any]:
  """A test task, its classes, and the key for the method that adapts to it."""
  k_task, k_method = jax.random.split(key)
  task = sample_task(k_task, features, protocol)
  return task, task_classes(k_task, features, protocol), k_method


def correct_counts(
  methods: Sequence[Method],
  features: ClassSet,
  protocol: Protocol,
  keys: Key[Array, " n"],
) -> list[Counts]:
  """Right answers of each method on the same tasks, whose queries' labels are never shown
  to it. Methods that share their functions share their
  compilation, for all sets."""
  batch = min(_BATCH, len(keys))
  right: list[list[Array]] = [[] for _ in methods]
  classes = []
  for start in range(0, len(keys), batch):
    # The last batch is filled up with tasks that were met before.
    these = jnp.minimum(jnp.arange(start, start + batch), len(keys) - 1)
    tasks, of_tasks, k_methods = _draw(keys[these], features, protocol)
    classes.append(of_tasks)
    for found, method in zip(right, methods, strict=True):
      functions = (method.adapt, method.predict)
      found.append(_right(method.variables, tasks, k_methods, functions, protocol.ways))
  together = lambda parts: np.concatenate(parts)[: len(keys)]  # noqa: E731
  return [Counts(together(found), together(classes)) for found in right]


@functools.partial(jax.jit, static_argnames="protocol")
def _draw(
  keys: Key[Array, " b"], features: ClassSet, protocol: Protocol
) -> tuple[Task, Int[Array, "b N"], Any]:
  return jax.vmap(lambda key: draw_task(key, features, protocol))(keys)


@functools.partial(jax.jit, static_argnames=("functions", "ways"))
def _right(
  variables: Any, tasks: Task, keys: Key[Array, " b"], functions: Any, ways: int
) -> Int[Array, "b N"]:
  adapt, predict = functions

  def one(task: Task, key: Key[Array, ""]) -> Int[Array, " N"]:
    adapted = adapt(variables, task.support, key, ways)
    right = predict(variables, adapted, task.query.x).argmax(-1) == task.query.y
    return jnp.zeros(ways, jnp.int32).at[task.query.y].add(right)

  return jax.vmap(one)(tasks, keys)
