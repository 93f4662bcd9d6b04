"""Loading: splits by class, and one sentence on whatever is wrong with a file."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.data import ClassSet, DataConfig, Splits, load, load_splits
from mcdi_jax.lib.errors import InputError

CLASSES = 50
COUNT = 2 + np.arange(CLASSES) % 3


def _archive() -> dict[str, np.ndarray]:
  """Image i of class c is constant: its pixels are (c, i); classes of unequal number,
  in mixed order."""
  labels = np.repeat(np.arange(CLASSES), COUNT)
  number = np.concatenate([np.arange(n) for n in COUNT])
  order = np.random.default_rng(0).permutation(len(labels))
  pixels = np.stack([labels, number], -1)[order].astype(np.uint8)
  images = np.broadcast_to(pixels[:, None, None], (len(labels), 3, 4, 2))
  return {"images": images.copy(), "labels": labels[order]}


def _load(path: Path, content: dict[str, Any], **settings: Any) -> Splits:
  np.savez(path, **content)
  return load_splits(DataConfig(source="npz", path=str(path), **settings))


def _classes(items: ClassSet) -> list[int]:
  """The file's classes in a set; each must be there with all of its images."""
  found = []
  for c in range(items.classes):
    n = int(items.count[c])
    pixels = np.asarray(items.x)[np.asarray(items.index)[c, :n], 0, 0]
    assert len(set(pixels[:, 0])) == 1
    whole = int(pixels[0, 0])
    assert sorted(pixels[:, 1]) == list(range(COUNT[whole]))
    found.append(whole)
  assert len(items.x) == sum(COUNT[found])
  return found


def test_the_classes_of_a_file_are_split_by_its_authors(tmp_path: Path):
  split = np.arange(CLASSES) % 3
  content = {**_archive(), "class_split": split}
  splits = _load(tmp_path / "toys.npz", content)
  assert splits.name == "toys"
  assert splits.image_shape == (3, 4, 2)
  for s, name in enumerate(("train", "val", "test")):
    assert _classes(getattr(splits, name)) == list(np.flatnonzero(split == s))


def test_another_array_may_split_the_classes(tmp_path: Path):
  """By its name, also beside the usual one; one that is not there is named."""
  usual, harder = np.arange(CLASSES) % 3, np.arange(CLASSES) // 2 % 3
  splits = {"class_split": usual, "class_split_harder": harder}
  content = {**_archive(), **splits}
  found = _load(tmp_path / "a.npz", content, class_split="class_split_harder")
  for s, items in enumerate(found[:3]):
    assert _classes(items) == list(np.flatnonzero(harder == s))
  own = _load(tmp_path / "a.npz", content)
  assert _classes(own.train) == list(np.flatnonzero(usual == 0))
  with pytest.raises(InputError, match="class_split is 'class_split_x': .*class_split_h"):
    _load(tmp_path / "a.npz", content, class_split="class_split_x")


def test_without_class_split_64_16_20_by_seed(tmp_path: Path, monkeypatch):
  """Disjoint, complete, printed, the same each time, and another for another seed."""
  printed = io.StringIO()
  monkeypatch.setattr(load.CONSOLE, "file", printed)
  splits = _load(tmp_path / "toys.npz", _archive())
  sets = [_classes(items) for items in splits[:3]]
  assert [len(found) for found in sets] == [32, 8, 10]
  assert sorted(itertools.chain(*sets)) == list(range(CLASSES))
  assert "toys" in printed.getvalue()
  assert "32/8/10" in printed.getvalue()
  assert sets[0] != list(range(32))
  again = _load(tmp_path / "toys.npz", _archive())
  assert [_classes(items) for items in again[:3]] == sets
  assert again.digest == splits.digest
  other = _load(tmp_path / "toys.npz", _archive(), split_seed=1)
  assert [_classes(items) for items in other[:3]] != sets
  assert other.digest != splits.digest


def test_the_digest_is_of_the_content(tmp_path: Path):
  """Not of the file's name or its compression; one pixel changes it."""
  content = _archive()
  first = _load(tmp_path / "a.npz", content).digest
  np.savez_compressed(tmp_path / "b.npz", **content)
  path = str(tmp_path / "b.npz")
  assert load_splits(DataConfig(source="npz", path=path)).digest == first
  content["images"][0, 0, 0, 1] ^= 1
  assert _load(tmp_path / "c.npz", content).digest != first


LABELS: dict[str, Callable[[np.ndarray], Any]] = {
  "uint8": lambda c: c.astype(np.uint8),
  "int64": lambda c: c.astype(np.int64),
  "uint64": lambda c: c.astype(np.uint64),
  "whole floats": lambda c: c.astype(np.float32),
  "text": lambda c: c.astype(str),
  "bytes": lambda c: c.astype("S"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type_name_the_same_classes(tmp_path: Path, kind: str):
  expected = _load(tmp_path / "a.npz", _archive())
  content = _archive()
  content["labels"] = LABELS[kind](content["labels"])
  found = _load(tmp_path / "a.npz", content)
  assert found.classes == expected.classes
  assert found.digest == expected.digest


@pytest.mark.parametrize("first", [1, 10**13, 2**63])
def test_labels_need_not_run_from_0(tmp_path: Path, first: int):
  """They are names; nothing as large as they are is made."""
  content = _archive()
  content["labels"] = 3 * content["labels"].astype(np.uint64) + np.uint64(first)
  splits = _load(tmp_path / "a.npz", content)
  for items, names in zip(splits[:3], splits.classes, strict=True):
    assert [str(3 * c + first) for c in _classes(items)] == list(names)


def test_names_without_images_are_left_out(tmp_path: Path, capsys):
  """And their places in the split with them."""
  content = _archive()
  content["labels"] = 2 * content["labels"]
  names = np.array([f"c{n}" for n in range(2 * CLASSES)])
  split = np.arange(2 * CLASSES) // 2 % 3
  splits = _load(tmp_path / "a.npz", {**content, "classes": names, "class_split": split})
  assert "50 classes have no image: left out" in capsys.readouterr().out
  for s, (items, found) in enumerate(zip(splits[:3], splits.classes, strict=True)):
    assert [f"c{2 * c}" for c in _classes(items)] == list(found)
    assert all(c % 3 == s for c in _classes(items))


def test_names_may_be_bytes_and_hold_anything(tmp_path: Path):
  names = [f"é{n}\n".encode() for n in range(CLASSES - 1)] + [b"\xe9"]
  splits = _load(tmp_path / "a.npz", {**_archive(), "classes": np.array(names)})
  found = sum(splits.classes, ())
  assert sorted(found) == sorted([*(rf"é{n}\n" for n in range(CLASSES - 1)), r"\xe9"])
  for items, given in zip(splits[:3], splits.classes, strict=True):
    expected = [names[c].decode("utf8", "backslashreplace") for c in _classes(items)]
    assert [name.replace(r"\n", "\n") for name in given] == expected


def test_arrays_that_are_not_used_may_hold_anything(tmp_path: Path):
  expected = _load(tmp_path / "a.npz", _archive()).digest
  content = {**_archive(), "about": np.array([{}, None])}
  assert _load(tmp_path / "a.npz", content).digest == expected


def _pictures(channels: int) -> np.ndarray:
  shape = (2 * CLASSES, 9, 8, channels)
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


FORMS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
  "grey in colours": (1, lambda x: x.repeat(3, -1)),
  "no channels": (1, lambda x: x[..., 0]),
  "opaque": (3, lambda x: np.pad(x, [(0, 0)] * 3 + [(0, 1)], constant_values=255)),
  "channels first": (3, lambda x: np.moveaxis(x, -1, 1)),
  "grey channel first": (1, lambda x: np.moveaxis(x, -1, 1)),
  "ink in alpha": (1, lambda x: np.concatenate([0 * x] * 3 + [255 - x], -1)),
  "light ink in alpha": (1, lambda x: np.concatenate([0 * x + 255] * 3 + [x], -1)),
  "floats": (3, lambda x: np.float32(x / 255)),
  "float bytes": (3, lambda x: x * 1.0),
  "16 bits": (3, lambda x: 257 * x.astype(np.uint16)),
  "integers": (3, lambda x: x.astype(np.int64)),
}


@pytest.mark.parametrize("size", [0, 4])
@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form_are_the_same_set(tmp_path: Path, form: str, size: int):
  channels, change = FORMS[form]
  content = {"images": _pictures(channels), "labels": np.arange(2 * CLASSES) % CLASSES}
  expected = _load(tmp_path / "a.npz", content, size=size)
  content["images"] = change(content["images"])
  found = _load(tmp_path / "a.npz", content, size=size)
  assert found.image_shape == expected.image_shape == (size or 9, size or 8, channels)
  assert found.digest == expected.digest


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
  return lambda c: {n: a for n, a in c.items() if n != name}


def _named(names: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
  return lambda c: c | {"classes": np.asarray(list(names)).astype(str)}


WRONG = {
  "no images": (_without("images"), "no array 'images': it holds"),
  "no labels": (_without("labels"), "no array 'labels': it holds"),
  "signed images": (
    lambda c: c | {"images": c["images"] / 64 - 1},
    "images.*run from -1 to",
  ),
  "complex images": (lambda c: c | {"images": c["images"] * 1j}, "images.*complex"),
  "flat images": (lambda c: c | {"images": c["images"][:, 0, 0]}, "images.*.n, h, w, c"),
  "no pixels": (lambda c: c | {"images": c["images"][:, :0]}, "images.*.n, h, w, c"),
  "half labels": (lambda c: c | {"labels": c["labels"] + 0.5}, "labels.*float64.*whole"),
  "NaN": (lambda c: c | {"labels": c["labels"] * np.nan}, "labels.*nan.*whole"),
  "column": (lambda c: c | {"labels": c["labels"][:, None]}, "labels.*is needed"),
  "fewer labels": (lambda c: c | {"labels": c["labels"][1:]}, "labels.*is needed"),
  "negative": (lambda c: c | {"labels": c["labels"] - 1}, "labels.*-1 for 2 images"),
  "empty": (lambda c: {n: a[:0] for n, a in c.items()}, "labels.*is needed"),
  "few names": (_named(range(49)), "labels.*49.*classes.*leave classes out"),
  "a name twice": (_named([*range(49), 0]), "classes.*'0' twice"),
  "names by name": (
    lambda c: _named(range(50))(c) | {"labels": np.full(len(c["labels"]), "x")},
    "labels.*'x'.*classes",
  ),
  "a table of names": (_named([["a"]] * 50), "classes.*names are needed"),
  "objects": (
    lambda c: c | {"classes": np.array(["a", None])},
    "'classes'.*Python objects.*save it as",
  ),
  "short split": (
    lambda c: c | {"class_split": np.zeros(3, int)},
    "class_split.*50 cl",
  ),
  "split of 3": (
    lambda c: c | {"class_split": np.arange(50) % 4},
    "class_split.*0, 1 or",
  ),
  "split of names": (
    lambda c: c | {"class_split": np.array(["train"] * 50)},
    "class_split.*0, 1 or",
  ),
  "no val": (lambda c: c | {"class_split": np.arange(50) % 2 * 2}, "class split.*val"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_an_archive_is_said(tmp_path: Path, case: str):
  change, said = WRONG[case]
  with pytest.raises(InputError, match=said) as caught:
    _load(tmp_path / "toys.npz", change(_archive()))
  assert "toys" in str(caught.value)
  assert "\n" not in str(caught.value)


def _files(path: Path) -> dict[str, Callable[[], Any]]:
  def cut() -> None:
    np.savez(path, **_archive())
    path.write_bytes(path.read_bytes()[:-100])

  def flipped() -> None:
    np.savez_compressed(path, **_archive())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))

  def npy() -> None:
    with path.open("wb") as f:
      np.save(f, np.zeros(3))

  return {
    "missing": lambda: None,
    "empty": lambda: path.write_bytes(b""),
    "text": lambda: path.write_bytes(b"not an archive " * 100),
    "npy": npy,
    "cut": cut,
    "flipped": flipped,
    "folder": path.mkdir,
  }


@pytest.mark.parametrize("case", _files(Path()))
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, case: str):
  path = tmp_path / "toys.npz"
  _files(path)[case]()
  with pytest.raises(InputError, match=r"config\.data\.path.*toys\.npz"):
    load_splits(DataConfig(source="npz", path=str(path)))


def test_no_path_is_an_error_with_the_remedy():
  with pytest.raises(FileNotFoundError, match=r"config\.data\.path is ''.*--data PATH"):
    load_splits(DataConfig(source="npz"))


def test_glyphs_are_split_in_order():
  config = DataConfig(glyph_classes=(4, 2, 3), glyph_drawings=5)
  splits = load_splits(config)
  assert splits.name == "glyphs"
  assert [items.classes for items in splits[:3]] == [4, 2, 3]
  images = np.concatenate([items.x for items in splits[:3]])
  assert images.shape == (9 * 5, 28, 28, 1)
  assert len(np.unique(images.reshape(45, -1), axis=0)) == 45
  for items in splits[:3]:
    np.testing.assert_array_equal(items.count, 5)
    np.testing.assert_array_equal(np.asarray(items.index).ravel(), np.arange(len(items.x)))
  other = load_splits(DataConfig(glyph_classes=(4, 2, 3), glyph_drawings=5, split_seed=1))
  assert other.digest != splits.digest


def test_glyph_classes_must_be_three_counts():
  with pytest.raises(InputError, match=r"config\.data\.glyph_classes"):
    load_splits(DataConfig(glyph_classes=(4, 2)))
