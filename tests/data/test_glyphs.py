"""Glyphs: drawings that are all different and yet tell their class."""

import jax
import numpy as np
import pytest

from mcdi_jax.data import ClassSet
from mcdi_jax.data.glyphs import glyphs

CLASSES, DRAWINGS = 20, 8


@pytest.fixture(scope="module")
def drawn() -> ClassSet:
  return glyphs(jax.random.key(0), classes=CLASSES, per_class=DRAWINGS)


def test_shapes_and_classes(drawn: ClassSet):
  assert drawn.x.shape == (CLASSES * DRAWINGS, 28, 28, 1)
  assert drawn.x.dtype == np.uint8
  np.testing.assert_array_equal(drawn.count, DRAWINGS)
  expected = np.arange(CLASSES * DRAWINGS).reshape(CLASSES, DRAWINGS)
  np.testing.assert_array_equal(drawn.index, expected)


def test_every_image_has_ink_and_paper(drawn: ClassSet):
  x = np.asarray(drawn.x)
  assert (x.max((1, 2, 3)) == 255).all()
  share = (x > 127).mean((1, 2, 3))
  assert (share > 0.01).all()
  assert (share < 0.6).all()


def test_a_key_gives_the_same_drawings_and_another_key_others(drawn: ClassSet):
  again = glyphs(jax.random.key(0), classes=CLASSES, per_class=DRAWINGS)
  np.testing.assert_array_equal(again.x, drawn.x)
  other = glyphs(jax.random.key(1), classes=CLASSES, per_class=DRAWINGS)
  assert (np.asarray(other.x) != np.asarray(drawn.x)).any((1, 2, 3)).all()


def test_drawings_of_a_class_differ_and_are_near_each_other(drawn: ClassSet):
  """Nearest class mean on raw pixels, from half of the drawings, finds the class of the
  other half far more often than chance (1 in 20)."""
  x = np.asarray(drawn.x, np.float64).reshape(CLASSES, DRAWINGS, -1)
  assert len(np.unique(x.reshape(CLASSES * DRAWINGS, -1), axis=0)) == CLASSES * DRAWINGS
  mean, rest = x[:, ::2].mean(1), x[:, 1::2]
  distance = ((rest[:, :, None] - mean) ** 2).sum(-1)
  right = distance.argmin(-1) == np.arange(CLASSES)[:, None]
  assert right.mean() > 0.4
