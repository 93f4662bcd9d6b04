"""Items (images, or features of images) indexed by class."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib.errors import InputError


class ClassSet(NamedTuple):
  """Items of C classes; a class may have any number of them.

  Attributes:
    x: [n, ...] items: images uint8 [n, h, w, c], or features float32 [n, D].
    index: int32 [C, n_max]; the first `count[c]` entries of row c are the places of the
      items of class c in `x`; the rest only fill up the row.
    count: int32 [C] items of each class.
    group: int32 [C] of each class, such as of one domain: a task has classes of one group
      alone. None: all are of one.
    twins: int32 [C, G]; the place of the same class in each group, −1 where it has none.
      None: not known.
  """

  x: Any
  index: Any
  count: Any
  group: Any = None
  twins: Any = None

  @property
  def classes(self) -> int:
    return self.index.shape[0]

  @property
  def together(self) -> int:
    """Classes that a task can have, whichever group it is of."""
    if self.group is None:
      return self.classes
    return int(np.unique(np.asarray(self.group), return_counts=True)[1].min())


def from_labels(x: np.ndarray, labels: np.ndarray) -> ClassSet:
  """Items [n, ...] with labels [n] in 0..C−1, every class present.

  Raises:
    InputError: other labels.
  """
  labels = np.asarray(labels)
  count = np.zeros(1)
  whole = labels.shape == (len(x),) and labels.size and labels.dtype.kind in "iu"
  if whole and labels.min() >= 0 and labels.max() < len(labels):  # else it were large
    count = np.bincount(labels.astype(np.int64)).astype(np.int32)
  if not count.all():
    raise InputError(
      f"labels are {labels.dtype} {labels.shape} for {len(x)} items: give each item one of "
      "0..C-1, and each class an item"
    )
  order = np.argsort(labels, kind="stable").astype(np.int32)
  start = np.cumsum(count) - count
  index = np.zeros((len(count), count.max()), np.int32)
  for c, (a, n) in enumerate(zip(start, count, strict=True)):
    index[c, :n] = order[a : a + n]
  return ClassSet(x, index, count)


def take_classes(items: ClassSet, first: int, stop: int) -> ClassSet:
  """Classes first … stop−1; the items stay where they are."""
  own = jax.tree.map(lambda leaf: leaf[first:stop], items._replace(x=None))
  return own._replace(x=items.x)


def gather_classes(items: ClassSet, chosen: np.ndarray) -> ClassSet:
  """These classes [K], in their order, and no items but theirs."""
  index, count = np.asarray(items.index)[chosen], np.asarray(items.count)[chosen]
  places = np.concatenate([row[:n] for row, n in zip(index, count, strict=True)])
  own = from_labels(items.x[places], np.repeat(np.arange(len(chosen)), count))
  if items.group is None:
    return own
  return own._replace(group=items.group[chosen], twins=_twins_of(items, chosen))


def twins(group: np.ndarray, kind: np.ndarray) -> np.ndarray:
  """int32 [C, G] as `ClassSet` has them, of classes of these groups and kinds [C]."""
  table = np.full((int(kind.max()) + 1, int(group.max()) + 1), -1, np.int32)
  table[kind, group] = np.arange(len(kind))
  return table[kind]


def _twins_of(items: ClassSet, chosen: np.ndarray) -> np.ndarray | None:
  """In the places of these classes, and of them alone."""
  if items.twins is None:
    return None
  place = np.full(items.classes + 1, -1, np.int32)
  place[chosen] = np.arange(len(chosen))
  return place[np.asarray(items.twins)[chosen]]  # −1 stays −1: the last place


def concatenate(sets: list[ClassSet]) -> ClassSet:
  """The classes of all sets, in their order, without groups."""
  n_max = max(s.index.shape[1] for s in sets)
  offsets = np.cumsum([0] + [len(s.x) for s in sets])
  rows = [
    jnp.pad(s.index + o, ((0, 0), (0, n_max - s.index.shape[1])))
    for s, o in zip(sets, offsets[:-1], strict=True)
  ]
  return ClassSet(
    jnp.concatenate([s.x for s in sets]),
    jnp.concatenate(rows),
    jnp.concatenate([s.count for s in sets]),
  )


def with_rotations(images: ClassSet) -> ClassSet:
  """4C classes: class c + r·C holds the images of class c turned by r · 90°."""
  turned = [
    ClassSet(jnp.rot90(images.x, r, axes=(1, 2)), images.index, images.count)
    for r in range(4)
  ]
  return concatenate(turned)


def to_unit(images: jax.Array) -> jax.Array:
  """uint8 [0, 255] to float32 [0, 1]; floats pass."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 255
  return images
