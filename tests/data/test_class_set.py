"""Class sets: every item under its class, whatever the counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, concatenate, from_labels, with_rotations
from mcdi_jax.data.class_set import take_classes, to_unit
from mcdi_jax.lib.errors import InputError

LABELS = np.array([2, 0, 1, 2, 2, 0])


def _items(items: ClassSet, c: int) -> np.ndarray:
  """The items of class c, as the docstring of `ClassSet` says."""
  return np.asarray(items.x)[np.asarray(items.index)[c, : int(items.count[c])]]


def test_from_labels_with_unequal_counts():
  x = np.arange(6)[:, None]
  found = from_labels(x, LABELS)
  assert found.classes == 3
  np.testing.assert_array_equal(found.count, [2, 1, 3])
  assert found.index.shape == (3, 3)
  assert found.index.dtype == found.count.dtype == np.int32
  for c in range(3):
    np.testing.assert_array_equal(_items(found, c), x[c == LABELS])
  np.testing.assert_array_equal(found.index[1, 1:], 0)


def test_take_classes_and_concatenate():
  first = from_labels(np.arange(6)[:, None], LABELS)
  second = from_labels(10 + np.arange(5)[:, None], np.array([0, 0, 0, 0, 1]))
  both = concatenate([first, second])
  assert both.classes == 5
  for c in range(3):
    np.testing.assert_array_equal(_items(both, c), _items(first, c))
  for c in range(2):
    np.testing.assert_array_equal(_items(both, 3 + c), _items(second, c))
  some = take_classes(both, 2, 4)
  assert some.classes == 2
  np.testing.assert_array_equal(_items(some, 0), _items(first, 2))
  np.testing.assert_array_equal(_items(some, 1), _items(second, 0))


def test_class_c_plus_r_times_all_is_class_c_turned_r_times():
  rng = np.random.default_rng(0)
  images = from_labels(rng.integers(0, 256, (6, 5, 5, 2)).astype(np.uint8), LABELS)
  turned = with_rotations(images)
  assert turned.classes == 12
  assert turned.x.dtype == jnp.uint8
  for r in range(4):
    for c in range(3):
      expected = [np.rot90(image, r) for image in _items(images, c)]
      np.testing.assert_array_equal(_items(turned, c + r * 3), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_to_unit(dtype: type):
  images = np.array([0, 1, 255]).astype(dtype)
  found = to_unit(jnp.asarray(images))
  assert found.dtype == jnp.float32
  expected = images / np.float32(255) if dtype == np.uint8 else images
  np.testing.assert_allclose(found, expected, rtol=1e-6)  # one rounding


@pytest.mark.parametrize(
  "labels",
  [[0, 2], [1, 2], [-1, 0], [0, 10**13], [0.0, 1.0], [0], [[0], [1]], ["a", "b"]],
  ids=str,
)
def test_labels_that_are_no_classes_are_refused(labels: list):
  """And nothing as large as they are is made."""
  with pytest.raises(InputError, match="labels are .* for 2 items: give each item one of"):
    from_labels(np.zeros((2, 3)), np.array(labels))
