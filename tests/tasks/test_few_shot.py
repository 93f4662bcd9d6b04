"""Tasks: different classes, disjoint items, the right labels.

Items are features that say what they are: (class, number within the class).
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import (
  Form,
  Protocol,
  Query,
  Support,
  Task,
  check_protocol,
  class_means,
  class_sums,
  membership,
  sample_classes,
  sample_support,
  sample_task,
)

PROTOCOL = Protocol(ways=4, shots=2, queries=3)
COUNT = np.array([5, 9, 5, 6, 7, 8, 5, 5, 9])
NUMBER = 300


def _items() -> ClassSet:
  labels = np.repeat(np.arange(len(COUNT)), COUNT)
  number = np.concatenate([np.arange(n) for n in COUNT])
  order = np.random.default_rng(0).permutation(len(labels))
  x = np.stack([labels, number], -1)[order].astype(np.float32)
  return jax.tree.map(jnp.asarray, from_labels(x, labels[order]))


@pytest.fixture(scope="module")
def tasks() -> Task:
  keys = jax.random.split(jax.random.key(0), NUMBER)
  sample = jax.vmap(lambda k: sample_task(k, _items(), PROTOCOL))
  return jax.device_get(jax.jit(sample)(keys))


def test_tasks_are_what_they_should_be(tasks: Task):
  """N different classes, one a label; support and query disjoint, all items real
  (padding would draw one twice, or of another class); each gets a turn."""
  assert tasks.support.x.shape == (NUMBER, 8, 2)
  assert tasks.query.x.shape == (NUMBER, 12, 2)
  seen = set()
  for i in range(NUMBER):
    support, query = (jax.tree.map(lambda a, i=i: a[i], part) for part in tasks)
    y = np.concatenate([support.y, query.y])
    x = np.concatenate([support.x, query.x]).astype(int)
    np.testing.assert_array_equal(np.bincount(support.y), [2] * 4)
    np.testing.assert_array_equal(np.bincount(query.y), [3] * 4)
    classes = {label: set(x[y == label, 0]) for label in range(4)}
    assert all(len(found) == 1 for found in classes.values())
    assert len(set.union(*classes.values())) == 4
    assert len({tuple(row) for row in x}) == len(x)
    assert (x[:, 1] < COUNT[x[:, 0]]).all()
    seen |= {tuple(row) for row in x}
  assert len(seen) == COUNT.sum()


def test_labels_do_not_follow_the_order_of_the_classes(tasks: Task):
  """Each label gets each of the 9 classes about equally often: 33 of 300, sd 5.4."""
  for label in range(4):
    first = np.asarray(tasks.support.x)[:, 2 * label, 0].astype(int)
    assert abs(np.bincount(first, minlength=9) - NUMBER / 9).max() < 5 * 5.4


def test_vmap_equals_a_loop(tasks: Task):
  single = jax.jit(lambda k: sample_task(k, _items(), PROTOCOL))
  for i, key in enumerate(jax.random.split(jax.random.key(0), NUMBER)[:3]):
    one = jax.tree.map(lambda a, i=i: a[i], tasks)
    chex.assert_trees_all_equal(one, jax.device_get(single(key)))


def test_support_of_given_classes():
  items = _items()
  sample = jax.jit(lambda key, classes: sample_support(key, items, classes, 5))
  support = sample(jax.random.key(0), jnp.array([8, 0, 3]))
  np.testing.assert_array_equal(support.x[:, 0], np.repeat([8, 0, 3], 5))
  np.testing.assert_array_equal(support.y, np.repeat([0, 1, 2], 5))
  assert sorted(np.asarray(support.x[5:10, 1])) == [0, 1, 2, 3, 4]  # all that there are


def test_support_and_query_are_different_types(tasks: Task):
  """So that a function of a `Support` is not given a query by mistake."""
  assert isinstance(tasks.support, Support)
  assert isinstance(tasks.query, Query)
  assert not isinstance(tasks.query, Support)
  assert not isinstance(tasks.support, Query)
  assert jax.tree.structure(tasks.query) != jax.tree.structure(tasks.support)


def test_check_protocol():
  items = _items()
  check_protocol(items, PROTOCOL, "val")
  check_protocol(items, Protocol(9, 2, 3), "val")
  with pytest.raises(InputError, match=r"val split has 9 classes.*10-way 2-shot needs 10"):
    check_protocol(items, Protocol(10, 2, 3), "val")
  with pytest.raises(InputError, match=r"class of the val split has 5 images.*needs 6"):
    check_protocol(items, Protocol(4, 2, 4), "val")


@pytest.mark.parametrize("form", [Form(4, 2), Form(2, 1), Form(3, 2)])
def test_what_counts_in_a_task_does_not_depend_on_the_size_of_its_arrays(form):
  """The first ways and shots of larger arrays are those of smaller ones: the same
  classes, the same items; queries keep their number and stay apart."""
  ways, shots = form
  small, large = Protocol(*form, queries=3), PROTOCOL
  for seed in range(20):
    key = jax.random.key(seed)
    alone = sample_task(key, _items(), small)
    found = sample_task(key, _items(), large, form=form)
    for part in found:
      assert (part.y[~part.mask] == 0).all()
    counted = found.support.mask
    np.testing.assert_array_equal(found.support.x[counted], alone.support.x)
    np.testing.assert_array_equal(found.support.y[counted], alone.support.y)
    query = found.query.x[found.query.mask]
    assert len(query) == 3 * ways
    np.testing.assert_array_equal(np.bincount(found.query.y[found.query.mask]), [3] * ways)
    both = {tuple(row) for row in np.concatenate([found.support.x[counted], query])}
    assert len(both) == (shots + 3) * ways
    k_classes, _ = jax.random.split(key)
    classes = sample_classes(k_classes, _items(), large.ways)
    np.testing.assert_array_equal(found.support.x[counted][:, 0], classes[alone.support.y])


def test_a_class_that_has_fewer_items_gives_those_it_has():
  """Nothing of another class fills the gap."""
  items, classes = _items(), jnp.array([1, 0, 2])  # of 9, 5 and 5 items
  support = sample_support(jax.random.key(0), items, classes, 7)
  mask = np.asarray(support.mask)
  np.testing.assert_array_equal(np.bincount(support.y[mask]), [7, 5, 5])
  np.testing.assert_array_equal(support.x[mask][:, 0], classes[support.y[mask]])
  assert len({tuple(row) for row in np.asarray(support.x[mask])}) == 17


def test_sums_and_means_by_class():
  """In any order, of classes of unequal size; what does not count may hold anything, and a
  class without items has mean 0."""
  rng = np.random.default_rng(0)
  x = np.float32(rng.normal(size=(7, 2, 3)))
  y, mask = np.array([2, 0, 2, 0, 0, 3, 1]), np.array([1, 1, 1, 1, 0, 1, 0], bool)
  wild = jnp.asarray(np.where(mask[:, None, None], x, np.nan))
  member = membership(Support(wild, jnp.asarray(y), jnp.asarray(mask)), 4)
  sums, means = class_sums(member, wild), class_means(member, wild)
  for c in range(4):
    own = x[mask & (y == c)]
    np.testing.assert_allclose(sums[c], own.sum(0), atol=1e-6)
    np.testing.assert_allclose(means[c], own.mean(0) if len(own) else 0, atol=1e-6)
  np.testing.assert_array_equal(member.sum(0), [2, 0, 2, 1])


def test_a_task_has_classes_of_one_group():
  """Each group is as likely, of however many classes it is; so are the classes of one."""
  items = _items()._replace(group=jnp.array([0, 1, 1, 0, 1, 1, 0, 1, 1]))
  keys = jax.random.split(jax.random.key(0), NUMBER)
  classes = jax.jit(jax.vmap(lambda k: sample_classes(k, items, 3)))(keys)
  group = np.asarray(items.group)[classes]
  assert (group == group[:, :1]).all()
  assert all(len(set(row)) == 3 for row in np.asarray(classes).tolist())
  assert abs(group[:, 0].mean() - 1 / 2) < 0.1
  often = np.bincount(np.ravel(classes), minlength=9) / NUMBER
  expected = np.where(np.asarray(items.group) == 0, 1 / 2, 1 / 4)  # 3 of 3, 3 of 6
  np.testing.assert_allclose(often, expected, atol=0.1)
  assert items.together == 3
  with pytest.raises(InputError, match="3 classes in one of its domains: 4-way"):
    check_protocol(items, PROTOCOL, "train")
