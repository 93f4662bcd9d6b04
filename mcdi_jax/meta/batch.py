"""A batch of training tasks: supports from the features, targets from the bank."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Condition, Generator
from mcdi_jax.lib.spacing import evenly_spaced
from mcdi_jax.preparation import Bank, kept_support
from mcdi_jax.preparation.bank import task_key
from mcdi_jax.tasks import Support, sample_support


class Form(NamedTuple):
  """A form of task: ways N and shots K; numbers, or scalars of a computation."""

  ways: Any
  shots: Any


class TaskSource(NamedTuple):
  """What tasks are drawn from: several forms in arrays of one size, so that a step is
  compiled once for all of them.

  Attributes:
    bank: the tasks of several banks, one after the other; rows of classes that a task
      does not have are 0.
    number: int32 [n]; of each task within the bank that it came from.
    forms: int32 [F] ways, and int32 [F] shots, of each form.
    first, count: int32 [F]; where the tasks of each form lie in the bank.
    features: of the training classes, x float [n, D].
    key: of the banks, which says each task's kept support.
  """

  bank: Bank
  number: Any
  forms: Form
  first: Any
  count: Any
  features: ClassSet
  key: Any

  def form(self, f: Any) -> Form:
    return Form(self.forms.ways[f], self.forms.shots[f])

  @property
  def ways(self) -> int:
    """The most classes of a task: the size of the arrays."""
    return self.bank.classes.shape[1]


class TaskBatch(NamedTuple):
  """B tasks, or one without the leading axis.

  Attributes:
    support: of features, x [B, N·K, D]; items beyond the form's are masked.
    targets: [B, k, N, W] tokens of the local targets.
  """

  support: Support
  targets: Any


def task_source(
  forms: Sequence[tuple[int, int]],
  banks: Sequence[Bank],
  features: ClassSet,
  key: Key[Array, ""],
  class_axes: Mapping[str, int],
) -> TaskSource:
  """On the device.

  Args:
    forms: (ways, shots) of each form, in the order in which they take turns.
    banks: of each form; forms of the same ways may share one.
    key: of the banks.
    class_axes: of the leaves, as in `weight_space`.
  """
  distinct = list({id(bank): bank for bank in banks}.values())
  sizes = [bank.tasks for bank in distinct]
  starts = np.cumsum([0, *sizes])
  place = [next(i for i, other in enumerate(distinct) if other is bank) for bank in banks]
  most = max(ways for ways, _ in forms)
  source = TaskSource(
    bank=jax.tree.map(
      lambda *parts: np.concatenate(parts),
      *(_padded(bank, most, class_axes) for bank in distinct),
    ),
    number=np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
    forms=Form(*(np.int32(numbers) for numbers in zip(*forms, strict=True))),
    first=np.int32([starts[i] for i in place]),
    count=np.int32([sizes[i] for i in place]),
    features=features,
    key=key,
  )
  return jax.tree.map(jnp.asarray, source)


def _padded(bank: Bank, ways: int, class_axes: Mapping[str, int]) -> Bank:
  """With rows of zeros for the classes that its tasks do not have."""
  more = ways - bank.classes.shape[1]

  def pad(path: Any, leaf: np.ndarray) -> np.ndarray:
    name = "/".join(step.key for step in path)
    axis = 2 + class_axes[name]  # behind the tasks and the k targets
    return np.pad(leaf, [(0, more if a == axis else 0) for a in range(leaf.ndim)])

  classes = np.pad(bank.classes, ((0, 0), (0, more)))
  return Bank(classes, jax.tree_util.tree_map_with_path(pad, bank.weights))


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
  shots = max(generator.spec.shots)

  def one(row: Any, key: Key[Array, ""]) -> TaskBatch:
    classes = source.bank.classes[row]
    if keep_support:
      key = task_key(source.key, source.number[row])
      support = kept_support(key, source.features, classes, shots, form=source.form(form))
    else:
      form_here = source.form(form)
      support = sample_support(key, source.features, classes, shots, form=form_here)
    weights = jax.tree.map(lambda leaf: leaf[row], source.bank.weights)
    weights = chain_targets(generator, weights)
    condition = generator.condition(support, source.ways)
    return TaskBatch(support, encode_targets(generator, weights, condition))

  return jax.vmap(one)(rows, jax.random.split(k_supports, tasks))


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
  generator: Generator, weights: Any, condition: Condition
) -> Float[Array, "k N W"]:
  """Params with a leading axis k to tokens, as differences from the support's base."""
  return jax.vmap(lambda params: generator.encode(params, condition))(weights)
