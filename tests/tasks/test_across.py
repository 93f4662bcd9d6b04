"""Tasks whose queries are of another domain than their support."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.data.class_set import gather_classes, twins
from mcdi_jax.tasks import Form, Protocol, sample_across, sample_classes

CLASSES, DOMAINS, PER_CLASS = 4, 5, 6
KEY = jax.random.key(0)


def _items(missing: tuple[tuple[int, int], ...] = ()) -> ClassSet:
  """An item tells its class, its domain and its number."""
  pairs = [(d, c) for d in range(DOMAINS) for c in range(CLASSES) if (d, c) not in missing]
  x = [(c, d, i) for d, c in pairs for i in range(PER_CLASS)]
  items = from_labels(np.float32(x), np.repeat(np.arange(len(pairs)), PER_CLASS))
  group, kind = np.array(pairs).T
  return items._replace(group=np.int32(group), twins=twins(group, kind))


def _on_device(items: ClassSet) -> ClassSet:
  return jax.tree.map(jnp.asarray, items)


@pytest.mark.parametrize("sources", [1, 3])
def test_the_support_is_of_other_domains_and_of_the_same_classes(sources: int):
  items, seen = _on_device(_items()), set()
  for key in jax.random.split(KEY, 20):
    k_classes, k_items = jax.random.split(key)
    classes = sample_classes(k_classes, items, 3)
    task = sample_across(k_items, items, classes, Protocol(3, 4, 2), sources)
    (x, y, mask), query = task
    assert mask.all() and query.mask.all()
    of_support, of_query = np.unique(x[:, 1]), np.unique(query.x[:, 1])
    assert len(of_query) == 1 and len(of_support) == sources
    assert of_query[0] not in of_support
    assert len(np.unique(x, axis=0)) == 12  # none twice
    for part in task:
      kinds = np.asarray(items.group * 0 + jnp.arange(items.classes) % CLASSES)[classes]
      np.testing.assert_array_equal(part.x[:, 0], kinds[np.asarray(part.y)])
    for c in range(3):  # domains take turns within a class
      counts = np.unique(np.asarray(x[:, 1])[np.asarray(y) == c], return_counts=True)[1]
      assert counts.max() - counts.min() <= 1
    seen |= {(int(of_query[0]), *map(int, of_support))}
  assert len(seen) > 5


def test_a_form_of_fewer_ways_and_shots_counts_in_larger_arrays():
  items = _on_device(_items())
  classes = sample_classes(KEY, items, 4)
  task = sample_across(KEY, items, classes, Protocol(4, 5, 2), 2, form=Form(2, 3))
  assert np.bincount(
    np.asarray(task.support.y)[np.asarray(task.support.mask)]
  ).tolist() == [3, 3]
  assert int(task.query.mask.sum()) == 4


def test_a_domain_that_lacks_a_class_is_not_drawn_from():
  items = _on_device(_items(missing=((1, 2), (3, 0))))
  classes = jnp.arange(3)  # of domain 0: the domains left are 2 and 4
  for key in jax.random.split(KEY, 10):
    task = sample_across(key, items, classes, Protocol(3, 2, 1), 2)
    assert set(np.unique(task.support.x[:, 1]).astype(int)) == {2, 4}


def test_twins_follow_the_classes_that_are_gathered():
  """Two domains of five, without one class: what is left points at itself."""
  items = _items()
  chosen = np.flatnonzero(np.isin(items.group, (1, 4)) & (np.arange(20) % CLASSES != 2))
  found = gather_classes(items, chosen)
  assert found.twins.shape == (6, DOMAINS)
  kind = np.asarray(chosen) % CLASSES
  for c in range(6):
    for g in range(DOMAINS):
      twin = found.twins[c, g]
      if g in (1, 4):
        assert (kind[twin], found.group[twin]) == (kind[c], g)
      else:
        assert twin == -1
