"""How well methods do on test tasks, task by task and cluster by cluster."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.over_tasks import over_tasks
from mcdi_jax.lib.programs import make_room
from mcdi_jax.methods import Method
from mcdi_jax.tasks import Protocol, Task

_BATCH = 100  # tasks at a time, at most
_BYTES = 2**28  # of their items


class Scores(NamedTuple):
  """Outcomes on a list of tasks.

  Attributes:
    values: [tasks, U]; of classifiers the right answers in each class of each task.
    clusters: int [tasks, U]; what each belongs to, such as a class of the set.
  """

  values: np.ndarray
  clusters: np.ndarray


def task_keys(seed: int, tasks: int, purpose: str = "test") -> Key[Array, " n"]:
  """One key a task; they alone, with items and protocol, say what the tasks are."""
  return jax.random.split(key_for(seed, f"{purpose} tasks"), tasks)


def draw_task(
  key: Key[Array, ""], family: TaskFamily, items: Any, protocol: Protocol
) -> tuple[Task, Int[Array, " U"], Any]:
  """A test task, what its scores belong to, and the key of the method that adapts."""
  k_task, k_method = jax.random.split(key)
  k_which, k_items = jax.random.split(k_task)
  which = family.draw_task(k_which, items, protocol.ways)
  task = family.examples(k_items, items, which, protocol)
  return task, family.clusters(items, which), k_method


def score(
  methods: Sequence[Method],
  family: TaskFamily,
  items: Any,
  protocol: Protocol,
  keys: Key[Array, " n"],
) -> list[Scores]:
  """Of each method on the same tasks, whose queries' labels are never shown to it. Methods
  that share their functions share their compilation, for all sets."""
  make_room()
  draw = lambda key, items: draw_task(key, family, items, protocol)[0]  # noqa: E731
  one = jax.eval_shape(draw, keys[0], items)
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
  batch = min(_BATCH, len(keys), max(1, _BYTES // size))
  values: list[list[Array]] = [[] for _ in methods]
  clusters = []
  for start in range(0, len(keys), batch):
    # The last batch is filled up with tasks that were met before.
    these = jnp.minimum(jnp.arange(start, start + batch), len(keys) - 1)
    tasks, of_tasks, k_methods = _draw(keys[these], family, items, protocol)
    clusters.append(of_tasks)
    for found, method in zip(values, methods, strict=True):
      functions = (method.adapt, method.predict)
      given = (method.variables, tasks, k_methods)
      found.append(_score(*given, family, functions, protocol.ways))
  together = lambda parts: np.concatenate(parts)[: len(keys)]  # noqa: E731
  return [Scores(together(found), together(clusters)) for found in values]


@functools.partial(jax.jit, static_argnames=("family", "protocol"))
def _draw(
  keys: Key[Array, " b"], family: TaskFamily, items: Any, protocol: Protocol
) -> tuple[Task, Int[Array, "b U"], Any]:
  return jax.vmap(lambda key: draw_task(key, family, items, protocol))(keys)


@functools.partial(jax.jit, static_argnames=("family", "functions", "ways"))
def _score(
  variables: Any,
  tasks: Task,
  keys: Key[Array, " b"],
  family: TaskFamily,
  functions: Any,
  ways: int,
) -> Array:
  adapt, predict = functions

  def one(task: Task, key: Key[Array, ""]) -> Array:
    adapted = adapt(variables, task.support, key, ways)
    output = predict(variables, adapted, task.query.x)
    return family.scores(output, task.query, ways)

  return over_tasks(one, tasks, keys, one_by_one=family.one_by_one)
