"""Few-shot classification: all that such tasks have in common, whatever their items are and
whichever weights of a network are generated for them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.families.family import Batch, Metric, PrepareOn, TaskFamily
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params, without_absent
from mcdi_jax.tasks import (
  Form,
  Protocol,
  Query,
  Support,
  Task,
  log_mean_probability,
  sample_classes,
  sample_examples,
  sample_support,
)
from mcdi_jax.weights import Cut


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShot(TaskFamily):
  """N-way K-shot tasks of a `ClassSet`; the task is its classes, int [N].

  Attributes:
    most_items: in a support of any of the forms, which says how large arrays are that
      supports of all of them fit in; 0: as large as the most ways and shots make it.
  """

  most_items: int = 0
  metric: ClassVar[Metric] = Metric("accuracy", "%", 100.0)
  classifies: ClassVar[bool] = True
  cuts: ClassVar[dict[str, Cut]] = {
    "head/kernel": Cut("classes", 1),
    "head/bias": Cut("classes", 0),
  }

  def draw_task(self, key: Key[Array, ""], items: ClassSet, ways: int) -> Int[Array, " N"]:
    return sample_classes(key, items, ways)

  def padded_task(self, tasks: Int[np.ndarray, "n N"]) -> Int[np.ndarray, "n M"]:
    return np.pad(tasks, ((0, 0), (0, self.largest.ways - tasks.shape[1])))

  def unpadded(self, bank: Any, form: Protocol) -> Any:
    head = bank.weights["head"]
    own = {name: leaf[..., : form.ways] for name, leaf in head.items()}
    weights = {**bank.weights, "head": own}
    return bank._replace(tasks=bank.tasks[:, : form.ways], weights=weights)

  def support(
    self,
    key: Key[Array, ""],
    items: ClassSet,
    task: Int[Array, " N"],
    shots: int,
    *,
    form: Form | None = None,
  ) -> Support:
    """Items as they are, but bytes in [0, 1]."""
    support = self._packed(sample_support(key, items, task, shots, form=form), form)
    return support._replace(x=to_unit(support.x))

  def examples(
    self,
    key: Key[Array, ""],
    items: ClassSet,
    task: Int[Array, " N"],
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    drawn = sample_examples(key, items, task, protocol, form=form)
    drawn = drawn._replace(support=self._packed(drawn.support, form))
    return Task(*(part._replace(x=to_unit(part.x)) for part in drawn))

  def _packed(self, support: Support, form: Form | None) -> Support:
    """Of a support that is one of several forms the items that count first, and no more
    rows than any form needs."""
    if form is None or not 0 < self.most_items < len(support.y):
      return support
    first = jnp.argsort(~support.mask, stable=True)[: self.most_items]
    return jax.tree.map(lambda leaf: leaf[first], support)

  def versions(self, items: ClassSet) -> ClassSet:
    return items._replace(x=items.x[:, None])

  def preparation_items(
    self,
    key: Key[Array, ""],
    items: ClassSet,
    task: Int[Array, " N"],
    on: PrepareOn,
    *,
    shots: int,
    queries: int,
  ) -> Batch:
    """x [m, V, ...] holds V versions of each item; classes of fewer items are filled up
    with items of weight 0."""
    if on == "all":
      most = items.index.shape[1]
      x = items.x[items.index[task].reshape(-1)]
      weight = jnp.arange(most) < items.count[task][:, None]
      y = jnp.repeat(jnp.arange(len(task)), most)
      return Batch(x, y, weight.reshape(-1).astype(jnp.float32))
    number = shots + (queries if on == "support_and_query" else 0)
    x, y, counted = sample_support(key, items, task, number)
    return Batch(x, y, counted.astype(jnp.float32))

  def preparation_batch(self, key: Key[Array, ""], gathered: Batch) -> Batch:
    """All items, each in one of its versions."""
    x, number, versions = gathered.x, *gathered.x.shape[:2]
    if versions == 1:
      return gathered._replace(x=to_unit(x[:, 0]))
    which = jax.random.randint(key, (number,), 0, versions)
    return gathered._replace(x=to_unit(x[jnp.arange(number), which]))

  def loss(self, output: Float[Array, "n N"], y: Int[Array, " n"]) -> Float[Array, " n"]:
    return optax.softmax_cross_entropy_with_integer_labels(output, y)

  def average(self, outputs: Float[Array, "m n N"]) -> Float[Array, "n N"]:
    """Logits of the mean of the probabilities."""
    return log_mean_probability(outputs)

  def quality(self, output: Float[Array, "n N"], query: Query) -> Float[Array, ""]:
    """The share of right answers."""
    return jnp.mean(output.argmax(-1) == query.y, where=query.mask)

  def scores(
    self, output: Float[Array, "n N"], query: Query, ways: int
  ) -> Int[Array, " N"]:
    """Right answers of each class."""
    right = output.argmax(-1) == query.y
    return jnp.zeros(ways, jnp.int32).at[query.y].add(right)

  def asked(self, protocol: Protocol) -> int:
    return protocol.queries

  def clusters(self, items: ClassSet, task: Int[Array, " N"]) -> Int[Array, " N"]:
    """The classes of the set."""
    return task

  def without_absent(self, params: Params, present: Bool[Array, " N"]) -> Params:
    return {**params, **without_absent(params, present)}

  def check_support(self, support: Support, ways: int) -> None:
    x, y, mask = support
    if y is None:
      raise InputError("support.y is None: give one integer label an item")
    if y.shape != x.shape[:1] or not jnp.issubdtype(y.dtype, jnp.integer):
      raise InputError(f"support.y is {y.dtype} {y.shape}: give one integer label an item")
    if mask is not None and (mask.shape != y.shape or mask.dtype != bool):
      raise InputError(f"support.mask is {mask.dtype} {mask.shape}: give one bool an item")
    if _traced(y) or _traced(mask):
      return
    _check_labels(np.asarray(y), mask, ways)
    if not _traced(x):
      values = np.asarray(x)
      self.check_values(values if mask is None else values[np.asarray(mask)])

  def check_values(self, x: np.ndarray) -> None:
    """Raises `InputError` unless the items [n, ...] that count hold what they should."""


def _traced(x: Any) -> bool:
  return isinstance(x, jax.core.Tracer)


def _check_labels(y: np.ndarray, mask: Any, ways: int) -> None:
  values = y if mask is None else y[np.asarray(mask)]
  if len(values) and (values.min() < 0 or values.max() >= ways):
    raise InputError(
      f"support.y runs from {values.min()} to {values.max()}: labels must lie in "
      f"0..{ways - 1} for {ways} ways"
    )
  count = np.bincount(values, minlength=min(ways, len(y) + 1))  # so one is 0, if too many
  if not count.any() or (mask is None and not count.all()):
    raise InputError(
      f"support.y has {count.tolist()} items a class: give every class at least one"
    )
