"""One order and one form, whatever the source: so a set gives the same tasks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import DataConfig, Splits, load_splits
from mcdi_jax.data.raw import Raw, in_canonical_order, stacked
from mcdi_jax.lib.errors import InputError

CLASSES = 12
LABELS = np.repeat(np.arange(CLASSES), 2 + np.arange(CLASSES) % 3)


def _images(seed: int = 0) -> np.ndarray:
  shape = (len(LABELS), 10, 10, 3)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _raw(images: np.ndarray, labels: np.ndarray) -> Raw:
  names = tuple(map(str, range(labels.max() + 1)))
  return Raw(images, labels.astype(np.int32), names, None, "toys")


def test_the_canonical_order_does_not_depend_on_the_order_of_the_images():
  images = _images()
  first = in_canonical_order(_raw(images, LABELS))
  order = np.random.default_rng(1).permutation(len(LABELS))
  other = in_canonical_order(_raw(images[order], LABELS[order]))
  np.testing.assert_array_equal(other.images, first.images)
  np.testing.assert_array_equal(other.labels, first.labels)


def test_the_canonical_order_is_by_class_and_then_by_bytes():
  """All of the bytes, the first of them before the last, and 200 above 100."""
  images = np.zeros((6, 2, 2, 1), np.uint8)
  images[:, 1, 1, 0] = [200, 3, 100, 0, 2, 1]
  images[3, 0, 0, 0] = 1
  found = in_canonical_order(_raw(images, np.array([1, 0, 1, 0, 0, 1])))
  np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(found.images[:, 1, 1, 0], [2, 3, 0, 1, 100, 200])


def test_the_canonical_order_keeps_each_image_with_its_label():
  images = _images()
  found = in_canonical_order(_raw(images, LABELS))
  before = {image.tobytes(): label for image, label in zip(images, LABELS, strict=True)}
  after = {
    image.tobytes(): label for image, label in zip(found.images, found.labels, strict=True)
  }
  assert after == before


@pytest.mark.parametrize("shape", [(6, 1, 1, 3), (6, 4, 4, 3)])
def test_the_canonical_order_takes_arrays_in_any_layout(shape: tuple[int, ...]):
  images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  labels = np.arange(6) % 2
  expected = in_canonical_order(_raw(images, labels)).images
  found = in_canonical_order(_raw(np.asfortranarray(images), labels)).images
  np.testing.assert_array_equal(found, expected)


NAMES = {
  "of one length": [f"c{c:02d}" for c in range(CLASSES)],
  "numbers": [str(c) for c in range(CLASSES)],
  "mixed case": ["b", "B", "a", "A", "c10", "c9", "C2", "c", "é", "z", "Z", "_"],
  "backwards": [f"c{c}" for c in range(CLASSES)][::-1],
}


def _as_npz(path: Path, order: np.ndarray, names=None, **settings: object) -> Splits:
  content = {"images": _images()[order], "labels": LABELS[order]}
  np.savez(path, classes=names or NAMES["of one length"], **content)
  return load_splits(DataConfig(source="npz", path=str(path), **settings))


def _as_folder(path: Path, order: np.ndarray, names=None, **settings: object) -> Splits:
  for place, n in enumerate(order):
    file = path / (names or NAMES["of one length"])[LABELS[n]] / f"{place}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_images()[n]).save(file)
  return load_splits(DataConfig(source="folder", path=str(path), **settings))


@pytest.mark.parametrize("case", NAMES)
def test_the_split_and_the_digest_do_not_depend_on_the_order_of_the_labels(tmp_path, case):
  """Nor on whether a folder or an array holds the set."""
  order, names = np.arange(len(LABELS)), NAMES[case]
  first = _as_npz(tmp_path / "a.npz", order, names)
  folder = _as_folder(tmp_path / "b", order, names)
  turn = np.random.default_rng(5).permutation(CLASSES)  # label → another label
  content = {"images": _images(), "labels": turn[LABELS]}
  np.savez(tmp_path / "c.npz", classes=np.array(names)[np.argsort(turn)], **content)
  turned = load_splits(DataConfig(source="npz", path=str(tmp_path / "c.npz")))
  for other in (folder, turned):
    assert other.classes == first.classes
    assert other.digest == first.digest
  if case == "numbers":
    np.savez(tmp_path / "d.npz", images=_images(), labels=LABELS)
    plain = load_splits(DataConfig(source="npz", path=str(tmp_path / "d.npz")))
    assert (plain.classes, plain.digest) == (first.classes, first.digest)


def test_a_split_by_the_authors_goes_with_its_classes(tmp_path: Path):
  """Whatever the order of the labels; within a split, classes are in order of names."""
  images = np.zeros((6, 2, 2, 1), np.uint8)
  images[:, 0, 0, 0] = 100 + np.arange(6)
  names, split = ["f", "e", "d", "c", "b", "a"], [0, 1, 2, 0, 1, 2]
  path = str(tmp_path / "a.npz")
  content = {"classes": names, "class_split": split}
  np.savez(path, images=images, labels=np.arange(6), **content)
  splits = load_splits(DataConfig(source="npz", path=path))
  assert splits.classes == (("c", "f"), ("b", "e"), ("a", "d"))
  for items, expected in zip(splits[:3], ([103, 100], [104, 101], [105, 102]), strict=True):
    assert items.x[:, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize(
  "form",
  [{}, {"grey": True}, {"size": 3}, {"grey": True, "size": 3, "invert": "always"}],
  ids=str,
)
def test_the_digest_is_that_of_the_content_and_not_of_the_source(tmp_path: Path, form):
  """10 pixels to 3 and colours to grey lie often half way between two integers."""
  straight = np.arange(len(LABELS))
  mixed = np.random.default_rng(3).permutation(len(LABELS))
  first = _as_npz(tmp_path / "a.npz", straight, **form)
  for other in (
    _as_npz(tmp_path / "b.npz", mixed, **form),
    _as_folder(tmp_path / "c", straight, **form),
    _as_folder(tmp_path / "d", mixed, **form),
  ):
    assert other.digest == first.digest
    assert other.classes == first.classes
    for mine, theirs in zip(first[:3], other[:3], strict=True):
      for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_form_changes_the_digest(tmp_path: Path):
  order = np.arange(len(LABELS))
  forms = [{}, {"grey": True}, {"size": 3}, {"invert": "always"}, {"split_seed": 1}]
  found = {_as_npz(tmp_path / "a.npz", order, **form).digest for form in forms}
  assert len(found) == len(forms)


def test_the_same_images_in_other_classes_are_another_digest(tmp_path: Path):
  """Three images of two classes of training: 2 and 1, then 1 and 2."""
  images = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((2, 2, 1), np.uint8)
  found = set()
  for labels in ([0, 0, 1, 2, 3], [0, 1, 1, 2, 3]):
    path = tmp_path / "a.npz"
    np.savez(path, images=images, labels=labels, class_split=[0, 0, 1, 2])
    splits = load_splits(DataConfig(source="npz", path=str(path)))
    np.testing.assert_array_equal(splits.train.x, images[:3])
    found.add(splits.digest)
  assert len(found) == 2


def test_one_shape_is_stacked_and_others_are_said():
  wide, high = np.zeros((2, 3, 1), np.uint8), np.zeros((3, 2, 1), np.uint8)
  assert stacked([wide, wide], "toys").shape == (2, 2, 3, 1)
  with pytest.raises(InputError, match="toys.*2×3 and 3×2"):
    stacked([wide, high, wide], "toys")
  both = stacked([wide, wide.repeat(3, -1)], "toys")
  np.testing.assert_array_equal(both, np.zeros((2, 2, 3, 3)))
