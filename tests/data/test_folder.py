"""A folder of class folders: what is a class, what is left out, what is an error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import DataConfig, load_splits
from mcdi_jax.data.folder import class_folders, read_folder
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError


def _save(root: Path, name: str, value: int = 0, *, size: int = 4, mode: str = "L") -> None:
  """An image of one brightness."""
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, (size, size), value if mode == "L" else (value,) * 3).save(path)


def _names(root: Path) -> dict[str, list[str]]:
  """Class names, and the paths of their images below their folders."""
  return {
    folder.name: [str(image.relative_to(root / folder.name)) for image in folder.images]
    for folder in class_folders(root)
  }


def test_each_folder_with_images_is_a_class_named_by_its_path(tmp_path: Path):
  for name in ("b/2.png", "b/10.PNG", "a/x/1.jpg", "a/y/1.png", "a/y/0.bmp"):
    _save(tmp_path, name)
  assert _names(tmp_path) == {
    "a/x": ["1.jpg"],
    "a/y": ["0.bmp", "1.png"],
    "b": ["10.PNG", "2.png"],
  }


def test_a_class_may_hold_another_and_both_keep_their_own_images(tmp_path: Path):
  for name in ("a/1.png", "a/inner/2.png", "a/inner/deep/3.png"):
    _save(tmp_path, name)
  expected = {"a": ["1.png"], "a/inner": ["2.png"], "a/inner/deep": ["3.png"]}
  assert _names(tmp_path) == expected


def test_labels_follow_the_names_whatever_the_order_of_writing(tmp_path: Path):
  values = {"c/1": 5, "a/2": 2, "b/0": 3, "a/1": 1, "b/1": 4}
  for name, value in values.items():
    _save(tmp_path, f"{name}.png", value)
  raw = read_folder(tmp_path, size=0, grey=False)
  assert raw.classes == ("a", "b", "c")
  assert raw.name == tmp_path.name
  assert raw.split is None
  assert raw.images.shape == (5, 4, 4, 1)
  np.testing.assert_array_equal(raw.labels, [0, 0, 1, 1, 2])
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], [1, 2, 3, 4, 5])


def test_a_folder_may_be_a_link(tmp_path: Path):
  """Sets are put together so; the name is that of the link."""
  _save(tmp_path, "elsewhere/1.png")
  _save(tmp_path, "set/a/1.png")
  (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
  assert list(_names(tmp_path / "set")) == ["a", "b"]


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path):
  """As macOS, Windows, notebooks and git leave it behind."""
  for name in ("a/1.png", "b/1.png", "a/._1.png", ".thumbnails/1.png"):
    _save(tmp_path, name)
  _save(tmp_path, "b/.ipynb_checkpoints/1-checkpoint.png")
  for name in ("README.md", ".DS_Store", "a/Thumbs.db", "a/notes.txt"):
    (tmp_path / name).write_bytes(b"no image")
  assert _names(tmp_path) == {"a": ["1.png"], "b": ["1.png"]}


def test_a_set_inside_a_hidden_folder_is_read(tmp_path: Path):
  for name in (".cache/a/1.png", ".cache/b/1.png"):
    _save(tmp_path, name)
  assert list(_names(tmp_path / ".cache")) == ["a", "b"]


def test_one_class_is_not_enough(tmp_path: Path):
  _save(tmp_path, "only/1.png")
  with pytest.raises(InputError, match="'only' alone.*at least two classes") as caught:
    class_folders(tmp_path)
  assert str(tmp_path) in str(caught.value)


def test_a_folder_without_images_is_said(tmp_path: Path):
  (tmp_path / "notes.txt").write_text("no image")
  with pytest.raises(InputError, match=r"no folder with images.*\.png"):
    class_folders(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path: Path):
  for name in ("a/1.png", "b/1.png"):
    _save(tmp_path, name)
  (tmp_path / "c").mkdir()
  with pytest.raises(InputError, match="/c has no image"):
    class_folders(tmp_path)


def test_loose_images_are_counted_or_named(tmp_path: Path):
  """Images with no class at all; then one beside classes, which is likely a mistake."""
  _save(tmp_path, "1.png")
  _save(tmp_path, "2.png")
  with pytest.raises(InputError, match="2 images that lie outside of any class folder"):
    class_folders(tmp_path)
  (tmp_path / "2.png").unlink()
  for name in ("a/1.png", "b/1.png"):
    _save(tmp_path, name)
  with pytest.raises(InputError, match=r"/1\.png lies outside of any class folder"):
    class_folders(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path):
  _save(tmp_path, "file.png")
  for path in (tmp_path / "nowhere", tmp_path / "file.png"):
    with pytest.raises(MissingError, match=f"no folder {path}"):
      load_splits(DataConfig(source="folder", path=str(path)))


def test_different_sizes_need_a_size(tmp_path: Path):
  _save(tmp_path, "a/1.png", 9, size=4)
  _save(tmp_path, "b/1.png", 7, size=6)
  with pytest.raises(InputError, match="4×4 and 6×6.*--config.data.size=28") as caught:
    read_folder(tmp_path, size=0, grey=False)
  assert str(tmp_path) in str(caught.value)
  raw = read_folder(tmp_path, size=5, grey=False)
  assert raw.images.shape == (2, 5, 5, 1)
  np.testing.assert_array_equal(raw.images[:, 2, 2, 0], [9, 7])


def test_grey_and_colour_together_need_grey(tmp_path: Path):
  _save(tmp_path, "a/1.png", 9)
  _save(tmp_path, "b/1.png", 7, mode="RGB")
  for size in (0, 5):
    with pytest.raises(InputError, match="grey.*colour.*--config.data.grey=True"):
      read_folder(tmp_path, size=size, grey=False)
  raw = read_folder(tmp_path, size=0, grey=True)
  assert raw.images.shape == (2, 4, 4, 1)
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], [9, 7])


def test_an_unreadable_image_stops_the_reading_and_is_named(tmp_path: Path):
  for name in ("a/1.png", "b/1.png", "b/2.png"):
    _save(tmp_path, name)
  path = tmp_path / "b/2.png"
  path.write_bytes(path.read_bytes()[:40])
  with pytest.raises(DamagedError, match=f"{path} cannot be read as an image"):
    read_folder(tmp_path, size=28, grey=True)


def test_a_folder_is_loaded_in_the_form_that_is_asked_for(tmp_path: Path):
  """Dark on bright, in colour, in two sizes: bright on dark, grey, of one size."""
  for c in range(10):
    for n in range(3):
      image = np.full((20 + 2 * n, 20 + n, 3), 255, np.uint8)
      image[8:12, 8:12] = c
      path = tmp_path / f"class {c}" / f"{n}.png"
      path.parent.mkdir(exist_ok=True)
      Image.fromarray(image).save(path)
  form = {"grey": True, "invert": "auto", "size": 10}
  splits = load_splits(DataConfig(source="folder", path=str(tmp_path), **form))
  assert splits.image_shape == (10, 10, 1)
  assert sorted(sum(splits.classes, ())) == [f"class {c}" for c in range(10)]
  for items, names in zip(splits[:3], splits.classes, strict=True):
    assert len(items.x) == 3 * len(names)
    for c, name in enumerate(names):
      images = items.x[items.index[c, : items.count[c]]]
      assert images.shape == (3, 10, 10, 1)
      assert (images[:, 0] == 0).all()
      assert set(images.max((1, 2, 3))) == {255 - int(name.split()[1])}
