"""Which TFDS sets, and which of their splits and features, can be read as classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfds_in_miniature import png, write_tfds

from mcdi_jax.data import DataConfig
from mcdi_jax.data.load import load_raw
from mcdi_jax.data.raw import Raw
from mcdi_jax.data.tfds import read_tfds
from mcdi_jax.lib.errors import InputError

IMAGE = {"image": tfds.features.Image(shape=(None, None, 3))}
LABEL = {"label": tfds.features.ClassLabel(names=["a", "b", "c"])}
OTHER = {"other": IMAGE["image"]}


def _examples(features: dict[str, Any], labels: tuple[int, ...]) -> list[dict[str, Any]]:
  """An image of each label, as bright as 50 + the label; in whatever features there are."""
  return [
    {k: c if k == "label" else png(np.full((4, 4, 3), 50 + c, np.uint8)) for k in features}
    for c in labels
  ]


def _read(data_dir: Path, name: str, parts: tuple[str, ...] = ()) -> Raw:
  return read_tfds(name, str(data_dir), lambda image: image, parts=parts)


OTHERS = {
  "no label": (IMAGE, None),
  "two images": (IMAGE | LABEL | OTHER, None),
  "a pair of images": (IMAGE | LABEL | OTHER, ("image", "other")),
  "label first": (IMAGE | LABEL, ("label", "image")),
  "a number": (IMAGE | {"label": tfds.features.Scalar(np.int64)}, ("image", "label")),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_set_for_another_task_is_said(tmp_path: Path, case: str):
  features, keys = OTHERS[case]
  write_tfds(tmp_path, "toys", features, {"train": _examples(features, (0, 1))}, keys)
  with pytest.raises(InputError, match="toys is no image-classification set") as caught:
    _read(tmp_path, "toys")
  for feature in features:
    assert repr(feature) in str(caught.value)


@pytest.mark.parametrize(
  "keys", [None, (("image", "image"), "label"), ({"x": "image"}, "label")]
)
def test_image_and_label_are_found_by_their_kind(tmp_path: Path, keys: Any):
  """Where TFDS's own keys of supervised training are missing or nested."""
  features = IMAGE | LABEL
  write_tfds(tmp_path, "toys", features, {"train": _examples(features, (0, 2))}, keys)
  raw = _read(tmp_path, "toys")
  assert raw.classes == ("a", "c")
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], 50 + 2 * raw.labels)


def test_the_keys_of_supervised_training_choose_among_several_images(tmp_path: Path):
  features = OTHER | {"picture": IMAGE["image"]} | LABEL
  dark = png(np.zeros((4, 4, 3), np.uint8))
  examples = [e | {"other": dark} for e in _examples(features, (0, 1))]
  write_tfds(tmp_path, "toys", features, {"train": examples}, ("picture", "label"))
  raw = _read(tmp_path, "toys")
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], 50 + raw.labels)


def test_images_without_a_label_are_no_class(tmp_path: Path):
  """TFDS labels them -1, in test splits whose answers are secret."""
  features = IMAGE | LABEL
  examples = {
    s: _examples(features, c) for s, c in {"train": (0, 1), "test": (-1, -1)}.items()
  }
  write_tfds(tmp_path, "toys", features, examples)
  with pytest.raises(
    InputError, match="toys/test has images without a label.*parts.*train"
  ):
    _read(tmp_path, "toys")
  assert _read(tmp_path, "toys", ("train",)).classes == ("a", "b")


def test_splits_named_small_are_read_where_there_are_no_others(tmp_path: Path):
  features = IMAGE | LABEL
  examples = {
    s: _examples(features, c) for s, c in {"small1": (0,), "small2": (1,)}.items()
  }
  write_tfds(tmp_path, "toys", features, examples)
  assert _read(tmp_path, "toys").classes == ("a", "b")


def test_images_of_any_size_are_brought_to_the_form_that_is_asked_for(tmp_path: Path):
  """As an encoder needs it; without one the error has the remedy."""
  sizes = ((4, 6, 3), (9, 5, 3))
  examples = [
    {"image": png(np.full(s, 40 * c, np.uint8)), "label": c} for c, s in enumerate(sizes)
  ]
  write_tfds(tmp_path, "toys", IMAGE | LABEL, {"train": examples})
  data = DataConfig(source="tfds", name="toys", path=str(tmp_path))
  raw = load_raw(data, lambda image: image[:2, :3])
  assert raw.images.shape == (2, 2, 3, 1)
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], 40 * raw.labels)
  with pytest.raises(InputError, match="toys have different sizes .* config.data.size"):
    load_raw(data)
