"""Items of source domains: all, some of each class, those of one domain; aligned ones; and
the images that they were embedded from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Generator
from mcdi_jax.methods.alignment import Map
from mcdi_jax.pipeline.use_config import DomainsConfig
from mcdi_jax.tasks import Support


class Sources(NamedTuple):
  """Items of the source domains, a class for each pair of domain and class: those that
  methods are given, and those that settings are chosen on."""

  train: ClassSet
  val: ClassSet


class Images(NamedTuple):
  """What items were embedded from, by the encoder of a generator of adapters.

  Attributes:
    train: of the sources, as in `Sources`.
    target: uint8 [m, h, w, c].
  """

  generator: Generator
  train: ClassSet
  target: Any


def pooled(items: ClassSet, groups: Any = None) -> Support:
  """All items of these groups (None: of all), under the classes that they share."""
  rows = np.arange(items.classes)
  if groups is not None:
    rows = rows[np.isin(np.asarray(items.group), groups)]
  return _support(items, rows, _places(items, rows))


def by_domain(items: ClassSet) -> list[Support]:
  return [pooled(items, [group]) for group in np.unique(np.asarray(items.group))]


def members(items: ClassSet, asked: DomainsConfig, seed: int) -> list[Support]:
  """So many supports of a few items of each class and domain; where a class is at its end,
  it begins anew."""
  rng = np.random.default_rng([seed, 2])
  rows = np.arange(items.classes)
  orders = [rng.permutation(own) for own in _places(items, rows)]
  take = lambda own, n: own[(n * asked.shots + np.arange(asked.shots)) % len(own)]  # noqa: E731
  members = ([take(own, n) for own in orders] for n in range(asked.members))
  return [_support(items, rows, places) for places in members]


def _places(items: ClassSet, rows: np.ndarray) -> list[np.ndarray]:
  """Of the items of each of these rows in `items.x`."""
  index, count = np.asarray(items.index), np.asarray(items.count)
  return [index[row][: count[row]] for row in rows]


def _support(items: ClassSet, rows: np.ndarray, places: list[np.ndarray]) -> Support:
  """x [n, D] and y [n] of the items in some places of each of these rows."""
  # Of each class the place in the first domain, where classes are in their order.
  kinds = np.asarray(items.twins)[rows, 0]
  y = np.repeat(kinds, [len(own) for own in places])
  return Support(items.x[np.concatenate(places)], jnp.asarray(y, jnp.int32))


def halves(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Places of half of the items, and of the others; labels have no say in it."""
  order = np.random.default_rng([seed, 1]).permutation(number)
  return order[: number // 2], order[number // 2 :]


def aligned(
  sources: Sources, align: Callable[[Array, Array], Map], unlabelled: Array
) -> Sources:
  """Each domain by the map of its own training items."""
  groups, parts = np.asarray(sources.train.group), [np.array(s.x) for s in sources]
  for group in np.unique(groups):
    mapped = align(pooled(sources.train, [group]).x, unlabelled)
    for items, x in zip(sources, parts, strict=True):
      rows = np.flatnonzero(np.asarray(items.group) == group)
      own = np.concatenate(_places(items, rows))
      x[own] = mapped(jnp.asarray(x[own]))
  pairs = zip(sources, parts, strict=True)
  return Sources(*(items._replace(x=jnp.asarray(x)) for items, x in pairs))
