"""Domains that are made of images."""

import re

import numpy as np
import pytest

from mcdi_jax.data.distortions import DISTORTIONS, IMITATING, check_distortions, distorted
from mcdi_jax.lib.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (5, 12, 10, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_an_image_is_distorted_alike_whatever_others_there_are(name: str):
  """And not left as it is."""
  found = distorted(IMAGES, name)
  assert found.shape == IMAGES.shape and found.dtype == np.uint8
  np.testing.assert_array_equal(found[:2], distorted(IMAGES[:2], name))
  assert all((a != b).any() for a, b in zip(found, IMAGES, strict=True))
  if name not in ("inverted", "edges"):  # drawn anew for each image
    same = distorted(np.repeat(IMAGES[:1], 16, 0), name)
    assert (same != same[0]).any()


def test_several_are_one_after_the_other():
  in_turn = distorted(distorted(IMAGES, "noisy"), "inverted")
  np.testing.assert_array_equal(distorted(IMAGES, "noisy+inverted"), in_turn)
  assert (distorted(IMAGES, "inverted+noisy") != in_turn).any()


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (("foggy",), "--distort is 'foggy': it has"),
    (("noisy+foggy",), "joined by +"),
    (("noisy+noisy",), "joined by +"),
    (("noisy", "noisy"), "name each once"),
    (("",), "--distort is ''"),
  ],
)
def test_other_names_are_refused(names: tuple[str, ...], message: str):
  check_distortions(("noisy", "noisy+inverted"), "--distort")
  with pytest.raises(InputError, match=re.escape(message)):
    check_distortions(names, "--distort")


def test_grey_images_stay_grey():
  for name in DISTORTIONS:
    assert distorted(IMAGES[..., :1], name).shape == (5, 12, 10, 1)


def test_what_distortions_do():
  """To what is easily told: values, contrast, detail."""
  of = {name: distorted(IMAGES, name).astype(float) for name in DISTORTIONS}
  rough = lambda x: np.abs(np.diff(x, axis=1)).mean()  # noqa: E731
  assert rough(of["blurred"]) < 0.9 * rough(IMAGES.astype(float))
  np.testing.assert_array_equal(of["inverted"], 255 - IMAGES.astype(float))
  assert all(len(np.unique(x)) <= 4 for x in of["posterised"])
  assert set(np.unique(of["two_tones"])) == {0, 255}
  assert of["low_contrast"].std((1, 2)).max() < 0.35 * IMAGES.std((1, 2)).min()
  cut = (of["cut_out"] != IMAGES).any(-1).mean((1, 2))
  assert (cut > 0.1).all() and (cut < 0.45).all()
  flat = np.full((1, 12, 10, 3), 99, np.uint8)
  assert (distorted(flat, "edges") == 255).all()
  assert set(IMITATING) < set(DISTORTIONS)
