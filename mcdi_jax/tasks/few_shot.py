"""N-way K-shot tasks: N classes, K labelled items of each, Q further ones to classify."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.errors import InputError


class Support(NamedTuple):
  """The labelled items of a task: all that a method may adapt to.

  Attributes:
    x: [n, ...] items as the family has them, such as images in [0, 1], or what `embed`
      makes of them.
    y: what there is to learn of each, as the family has it; of classifiers int [n] labels
      in 0..N−1, in any order, and classes may have unequal numbers of items.
    mask: bool [n], False for items that only fill up the arrays; None: all count. A class
      without an item that counts is no class of the task.
  """

  x: Any
  y: Any
  mask: Any = None


class Query(NamedTuple):
  """Items to classify: x [n, ...], y int [n], mask bool [n] or None as in `Support`. A type
  of its own, so that no function that takes a `Support` can be given one by mistake."""

  x: Any
  y: Any
  mask: Any = None


class Task(NamedTuple):
  support: Support
  query: Query


class Form(NamedTuple):
  """A form of task: ways N and shots K; numbers, or scalars of a computation."""

  ways: Any
  shots: Any


class Protocol(NamedTuple):
  """A form of task and the queries that are asked: static numbers."""

  ways: int
  shots: int
  queries: int = 15

  def __str__(self) -> str:
    return f"{self.ways}-way {self.shots}-shot"


def membership(support: Support, ways: int) -> Float[Array, "n N"]:
  """1 where item n counts and belongs to class c, else 0."""
  member = jax.nn.one_hot(support.y, ways)
  return member if support.mask is None else member * support.mask[:, None]


def log_mean_probability(logits: Float[Array, " m *s"]) -> Float[Array, " *s"]:
  """Of m networks; the last axis is what is chosen among. What none of them can choose is
  −∞, and gradients pass it by."""
  log_p = jax.nn.log_softmax(logits)
  known = (log_p > -jnp.inf).any(0)
  mean = jax.nn.logsumexp(jnp.where(known, log_p, 0.0), axis=0) - jnp.log(len(logits))
  return jnp.where(known, mean, -jnp.inf)


def mean_over_items(
  losses: Float[Array, " n"], mask: Bool[Array, " n"] | None
) -> Float[Array, ""]:
  """Of the items that count; the others may hold anything. None: all count."""
  if mask is None:
    return losses.mean()
  return jnp.sum(jnp.where(mask, losses, 0.0)) / mask.sum()


def class_sums(
  member: Float[Array, "n N"], x: Float[Array, " n *s"]
) -> Float[Array, " N *s"]:
  """Sums over the items of each class. Items that do not count may hold anything."""
  counts = member.any(1).reshape(-1, *(1,) * (x.ndim - 1))
  # Exact in float32 on every device: a class of one item has its item as the sum.
  return jnp.tensordot(member.T, jnp.where(counts, x, 0.0), 1, precision="highest")


def class_means(
  member: Float[Array, "n N"], x: Float[Array, " n *s"]
) -> Float[Array, " N *s"]:
  """Means over the items of each class; 0 for a class without any."""
  number = jnp.maximum(member.sum(0), 1.0).reshape(-1, *(1,) * (x.ndim - 1))
  return class_sums(member, x) / number


def check_protocol(items: ClassSet, protocol: Protocol, split: str) -> None:
  """Raises `InputError` where a set cannot give such tasks."""
  need = protocol.shots + protocol.queries
  if items.together < protocol.ways:
    where = "" if items.group is None else " in one of its domains"
    raise InputError(
      f"the {split} split has {items.together} classes{where}: {protocol} needs "
      f"{protocol.ways}, so lower the ways or bring more classes"
    )
  smallest = int(np.min(items.count))
  if smallest < need:
    raise InputError(
      f"a class of the {split} split has {smallest} images: {protocol} with "
      f"{protocol.queries} queries needs {need}, so lower shots or queries"
    )


def sample_classes(key: Key[Array, ""], items: ClassSet, ways: int) -> Int[Array, " N"]:
  """N different classes; where there are groups of one, each as likely as another."""
  if items.group is None:
    return jax.random.choice(key, items.classes, (ways,), replace=False)
  k_group, k_classes = jax.random.split(key)
  together = (items.group == items.group[:, None]).sum(1)  # classes of each one's group
  group = items.group[jax.random.categorical(k_group, -jnp.log(together))]
  luck = jax.random.uniform(k_classes, (items.classes,))
  return jax.lax.top_k(jnp.where(items.group == group, luck, -1.0), ways)[1]


def draw_places(
  key: Key[Array, ""], items: ClassSet, classes: Int[Array, " N"], number: int
) -> Int[Array, "N n"]:
  """Places in `items.x` of `number` different items of each class."""
  row, count = items.index[classes], items.count[classes]
  luck = jax.random.uniform(key, row.shape)
  luck = jnp.where(jnp.arange(row.shape[1]) < count[:, None], luck, -1.0)
  return jnp.take_along_axis(row, jax.lax.top_k(luck, number)[1], axis=1)


def take_places(
  items: ClassSet, places: Int[Array, "N n"], valid: Bool[Array, "N n"]
) -> tuple[Any, Int[Array, " Nn"], Bool[Array, " Nn"]]:
  """x, y and mask; the label of an item that does not count is 0."""
  ways, number = places.shape
  mask = valid.reshape(-1)
  label = jnp.where(mask, jnp.repeat(jnp.arange(ways), number), 0)
  return items.x[places.reshape(-1)], label, mask


def present(
  items: ClassSet, classes: Int[Array, " N"], first: int, stop: int, ways: Any
) -> Bool[Array, "N n"]:
  """Which of the draws first … stop−1 of each class are items of it, and of the task."""
  drawn = jnp.arange(first, stop) < items.count[classes][:, None]
  return drawn & (jnp.arange(len(classes)) < ways)[:, None]


def sample_support(
  key: Key[Array, ""],
  items: ClassSet,
  classes: Int[Array, " N"],
  shots: int,
  *,
  form: Form | None = None,
) -> Support:
  """K different items of each of the given classes, all of a class that has fewer.

  Args:
    form: what counts, where N and K are only the sizes of the arrays; the items that
      count do not depend on those.
  """
  ways, counted = form or (len(classes), shots)
  places = draw_places(key, items, classes, shots)
  valid = present(items, classes, 0, shots, ways) & (jnp.arange(shots) < counted)
  return Support(*take_places(items, places, valid))


def sample_task(
  key: Key[Array, ""],
  items: ClassSet,
  protocol: Protocol,
  *,
  form: Form | None = None,
) -> Task:
  """A task of classes and items drawn without replacement; support and query disjoint.

  Args:
    form: as in `sample_support`, with the protocol's ways and shots as the sizes.
  """
  k_classes, k_items = jax.random.split(key)
  classes = sample_classes(k_classes, items, protocol.ways)
  return sample_examples(k_items, items, classes, protocol, form=form)


def sample_examples(
  key: Key[Array, ""],
  items: ClassSet,
  classes: Int[Array, " N"],
  protocol: Protocol,
  *,
  form: Form | None = None,
) -> Task:
  """Support and queries of the given classes, disjoint; `form` as in `sample_task`."""
  ways, counted = form or (protocol.ways, protocol.shots)
  shots, number = protocol.shots, protocol.shots + protocol.queries
  places = draw_places(key, items, classes, number)
  in_support = present(items, classes, 0, shots, ways) & (jnp.arange(shots) < counted)
  in_query = present(items, classes, shots, number, ways)
  return Task(
    Support(*take_places(items, places[:, :shots], in_support)),
    Query(*take_places(items, places[:, shots:], in_query)),
  )
