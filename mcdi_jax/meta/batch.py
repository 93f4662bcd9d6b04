"""A batch of training tasks: supports from the items, targets from the bank."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator, Given
from mcdi_jax.lib.over_tasks import over_tasks
from mcdi_jax.lib.spacing import evenly_spaced
from mcdi_jax.preparation import Bank, support_key
from mcdi_jax.preparation.bank import task_key
from mcdi_jax.tasks import Form
from mcdi_jax.weights import leaves_by_path, nested, weight_space

_MOST = 256  # tasks at once, for memory


class TaskSource(NamedTuple):
  """What tasks are drawn from: several forms in arrays of one size, so that a step is
  compiled once for all of them.

  Attributes:
    bank: the tasks of several banks, one after the other; rows of classes that a task
      does not have are 0.
    number: int32 [n]; of each task within the bank that it came from.
    forms: int32 [F] ways, and int32 [F] shots, of each form.
    first, count: int32 [F]; where the tasks of each form lie in the bank.
    items: of the training split, embedded.
    key: of the banks, which says each task's kept support.
    query_items: the same that tasks of the query loss are drawn from; None: `items`.
  """

  bank: Bank
  number: Any
  forms: Form
  first: Any
  count: Any
  items: Any
  key: Any
  query_items: Any = None

  def form(self, f: Any) -> Form:
    return Form(self.forms.ways[f], self.forms.shots[f])


class TaskBatch(NamedTuple):
  """B tasks, or one without the leading axis.

  Attributes:
    given: what the supports say, of which the score network makes a condition.
    targets: [B, k, S, W] tokens of the local targets.
    ways: int32 [B]; classes that count.
  """

  given: Given
  targets: Any
  ways: Any


def task_source(
  family: TaskFamily,
  forms: Sequence[Form],
  banks: Sequence[Bank],
  items: Any,
  key: Key[Array, ""],
  numbers: Sequence[np.ndarray] | None = None,
  query_items: Any = None,
) -> TaskSource:
  """On the device.

  Args:
    forms: in the order in which they take turns.
    banks: of each form; forms of the same ways may share one.
    key: of the banks.
    numbers: of each bank's tasks within the whole bank; None: it is whole.
    query_items: as `TaskSource` has them.
  """
  if numbers is None:
    numbers = [np.arange(bank.size, dtype=np.int32) for bank in banks]
  number_of = {id(bank): own for bank, own in zip(banks, numbers, strict=True)}
  distinct = list({id(bank): bank for bank in banks}.values())
  sizes = [bank.size for bank in distinct]
  starts = np.cumsum([0, *sizes])
  place = [next(i for i, other in enumerate(distinct) if other is bank) for bank in banks]
  source = TaskSource(
    bank=jax.tree.map(
      lambda *parts: np.concatenate(parts),
      *(_padded(bank, family) for bank in distinct),
    ),
    number=np.concatenate([number_of[id(bank)] for bank in distinct]),
    forms=Form(*(np.int32(numbers) for numbers in zip(*forms, strict=True))),
    first=np.int32([starts[i] for i in place]),
    count=np.int32([sizes[i] for i in place]),
    items=items,
    key=key,
    query_items=query_items,
  )
  return jax.tree.map(jnp.asarray, source)


def _padded(bank: Bank, family: TaskFamily) -> Bank:
  """With rows of zeros for the classes that its tasks do not have."""

  one = jax.tree.map(lambda leaf: leaf[0, 0], bank.weights)
  weights = leaves_by_path(bank.weights)
  for path, cut, *_ in weight_space(one, family.cuts).leaves:
    if cut.kind == "classes":
      leaf, axis = weights[path], 2 + cut.axis  # behind the tasks and the k targets
      more = family.largest.ways - leaf.shape[axis]
      weights[path] = np.pad(leaf, [(0, more * (a == axis)) for a in range(leaf.ndim)])
  return Bank(family.padded_task(bank.tasks), nested(weights))


def draw_tasks(
  key: Key[Array, ""],
  source: TaskSource,
  generator: Generator,
  *,
  form: Any,
  tasks: int,
  keep_support: bool = False,
) -> TaskBatch:
  """Draws tasks of one form from the bank, each with a support, and encodes their targets.

  What counts in a task does not depend on the other forms of the source.

  Args:
    form: its number in the source, which may be traced.
  """
  k_tasks, k_supports = jax.random.split(key)
  rows = jax.random.randint(k_tasks, (tasks,), 0, source.count[form]) + source.first[form]
  family, counted = generator.spec.family, source.form(form)

  def one(row: Any, key: Key[Array, ""]) -> TaskBatch:
    task, weights = jax.tree.map(lambda leaf: leaf[row], source.bank)
    if keep_support:
      key = support_key(task_key(source.key, source.number[row]))
    support = family.support(key, source.items, task, family.largest.shots, form=counted)
    given = generator.given(support, family.largest.ways)
    targets = encode_targets(generator, chain_targets(generator, weights), given)
    return TaskBatch(given, targets, counted.ways)

  keys = jax.random.split(k_supports, tasks)
  return over_tasks(one, rows, keys, most=_MOST, one_by_one=family.one_by_one)


def chain_targets(generator: Generator, weights: Any) -> Any:
  """The chain's k targets among those of the bank (params with a leading axis): evenly
  spaced, so that of one segment is the last. The naive objective takes them all."""
  diffusion = generator.spec.diffusion
  if diffusion.objective == "naive":
    return weights
  number = jax.tree.leaves(weights)[0].shape[0]
  chosen = np.array(evenly_spaced(number, diffusion.segments)) - 1
  return jax.tree.map(lambda leaf: leaf[chosen], weights)


def encode_targets(
  generator: Generator, weights: Any, given: Given
) -> Float[Array, "k S W"]:
  """Params with a leading axis k to tokens, as differences from the support's base."""
  return jax.vmap(lambda params: generator.encode(params, given))(weights)
