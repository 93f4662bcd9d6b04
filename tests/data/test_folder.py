"""A folder of class folders: what is a class, what is left out, what is an error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import DataConfig, load_splits
from mcdi_jax.data.folder import class_folders, read_folder, support_folders
from mcdi_jax.data.names import natural_key
from mcdi_jax.data.raw import in_form
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

AS_IT_IS = lambda image: image  # noqa: E731


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
    "b": ["2.png", "10.PNG"],
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
  raw = read_folder(tmp_path, AS_IT_IS)
  assert raw.classes == ("a", "b", "c")
  assert raw.name == tmp_path.name
  assert raw.split is None
  assert raw.images.shape == (5, 4, 4, 1)
  np.testing.assert_array_equal(raw.labels, [0, 0, 1, 1, 2])
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], [1, 2, 3, 4, 5])


def test_names_are_ordered_with_their_case(tmp_path: Path):
  """One order wherever names are sorted, as `natural_key` has it."""
  names = ["B", "C9", "C10", "a", "b2", "c"]
  for name in names:
    _save(tmp_path, f"{name}/1.png")
  assert list(_names(tmp_path)) == sorted(names, key=natural_key) == names


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
    read_folder(tmp_path, AS_IT_IS)
  assert str(tmp_path) in str(caught.value)
  raw = read_folder(tmp_path, lambda image: in_form(image, 5, False))
  assert raw.images.shape == (2, 5, 5, 1)
  np.testing.assert_array_equal(raw.images[:, 2, 2, 0], [9, 7])


def test_grey_and_colour_together_are_in_colour(tmp_path: Path):
  _save(tmp_path, "a/1.png", 9)
  red = np.full((4, 4, 3), (255, 0, 0), np.uint8)
  (tmp_path / "b").mkdir()
  Image.fromarray(red).save(tmp_path / "b" / "1.png")
  raw = read_folder(tmp_path, AS_IT_IS)
  np.testing.assert_array_equal(raw.images, [np.full((4, 4, 3), 9), red])
  raw = read_folder(tmp_path, lambda image: in_form(image, 0, True))
  assert raw.images.shape == (2, 4, 4, 1)
  np.testing.assert_array_equal(raw.images[:, 0, 0, 0], [9, 76])


def test_unreadable_images_stop_the_reading_and_are_all_named(tmp_path: Path):
  for name in ("a/1.png", "b/1.png", "b/2.png", "b/3.png"):
    _save(tmp_path, name)
  bad = [tmp_path / "a/1.png", tmp_path / "b/2.png"]
  for path in bad:
    path.write_bytes(path.read_bytes()[:40])
  with pytest.raises(DamagedError, match="2 files cannot be read as images") as caught:
    read_folder(tmp_path, lambda image: in_form(image, 28, True))
  assert all(str(path) in str(caught.value) for path in bad)


def _level(root: Path, classes: dict[str, str]) -> None:
  """Level → its classes, one letter each; an image as bright as its place in all."""
  n = 0
  for level, names in classes.items():
    for name in names:
      n += 1
      _save(root, level.replace("*", name) + ".png", n)


DISJOINT = [
  ("train", "val", "test"),
  ("Training", "validation", "Testing"),
  ("meta-train", "Meta_val", "test_set"),
]


@pytest.mark.parametrize("names", DISJOINT)
def test_a_level_of_different_classes_is_their_split(tmp_path, capsys, names):
  """60 classes are not 3, and none has the level in its name."""
  train, val, test = names
  _level(tmp_path, {f"{train}/*/1": "dac", f"{val}/*/1": "b", f"{test}/*/1": "fe"})
  raw = read_folder(tmp_path, AS_IT_IS)
  assert raw.classes == tuple("abcdef")
  np.testing.assert_array_equal(raw.split, [0, 1, 0, 0, 2, 2])
  splits = load_splits(DataConfig(source="folder", path=str(tmp_path)))
  assert splits.classes == (("a", "c", "d"), ("b",), ("e", "f"))
  assert splits.train.x[:, 0, 0, 0].tolist() == [2, 3, 1]
  assert "hold different classes: their split" in capsys.readouterr().out


def test_a_split_of_folders_may_lie_below_groups_of_classes(tmp_path: Path):
  _level(tmp_path, {"x/train/*/1": "ab", "x/val/*/1": "c", "y/test/*/1": "ad"})
  raw = read_folder(tmp_path, AS_IT_IS)
  assert raw.classes == ("x/a", "x/b", "x/c", "y/a", "y/d")
  np.testing.assert_array_equal(raw.split, [0, 0, 1, 2, 2])


MERGED = {
  "above": {"train/*/1": "abc", "test/*/1": "abc"},
  "some": {"train/*/1": "abc", "val/*/1": "c", "test/*/1": "ab"},
  "inside": {"*/train/1": "abc", "*/test/1": "abc"},
  "roles": {"support/*/1": "abc", "query/*/1": "abc"},
  "roles inside": {"*/support/1": "abc", "*/query/1": "abc"},
  "roles in plural": {"*/supports/1": "abc", "*/queries/1": "abc"},
}


@pytest.mark.parametrize("case", MERGED)
def test_a_level_of_the_same_classes_is_merged_by_name(tmp_path, capsys, case: str):
  """No class stands on both sides of a split."""
  _level(tmp_path, MERGED[case])
  raw = read_folder(tmp_path, AS_IT_IS)
  assert raw.classes == ("a", "b", "c")
  assert raw.split is None
  assert np.bincount(raw.labels).tolist() == [2, 2, 2]
  for image, origin in zip(raw.images, raw.origins, strict=True):
    np.testing.assert_array_equal(
      image, np.asarray(Image.open(tmp_path / origin))[..., None]
    )
  assert "are no classes: merged by class" in capsys.readouterr().out


def test_folders_of_domains_hold_the_same_classes(tmp_path: Path):
  """As DomainNet lies: clipart/bird/1.png. A class may be in some domains alone; one that
  lies in none is told, and so is a domain without classes."""
  for value, name in enumerate(("b/cat/1", "a/dog/1", "a/cat/1", "b/cat/2", "a/ant/7")):
    _save(tmp_path, f"{name}.png", value)
  raw = read_folder(tmp_path, AS_IT_IS, domains=True)
  assert raw.classes == ("ant", "cat", "dog")
  parts = (raw.images[:, 0, 0, 0].tolist(), raw.labels.tolist(), raw.domain.tolist())
  expected = [(0, 1, "b"), (1, 2, "a"), (2, 1, "a"), (3, 1, "b"), (4, 0, "a")]
  assert sorted(zip(*parts, strict=True)) == expected
  for part, name in (("train", "cat"), ("val", "dog"), ("test", "ant")):
    for domain in "ab":
      _save(tmp_path / "split", f"{part}/{domain}/{name}/1.png")
  split = read_folder(tmp_path / "split", AS_IT_IS, domains=True)
  np.testing.assert_array_equal(split.split, [2, 0, 1])  # of ant, cat, dog
  assert split.domain.tolist() == 3 * ["a", "b"]
  _save(tmp_path, "cat/1.png")
  with pytest.raises(InputError, match="--domains: .*cat holds images, where a domain"):
    read_folder(tmp_path, AS_IT_IS, domains=True)


def test_one_level_alone_is_no_split(tmp_path: Path):
  _level(tmp_path, {"train/*/1": "abc"})
  raw = read_folder(tmp_path, AS_IT_IS)
  assert (raw.classes, raw.split) == (("a", "b", "c"), None)


def test_where_other_folders_stand_beside_them_they_are_classes(tmp_path: Path):
  """A train is a thing, too."""
  for name in ("train", "car", "bus"):
    _save(tmp_path, f"{name}/1.png")
  assert read_folder(tmp_path, AS_IT_IS).classes == ("bus", "car", "train")


@pytest.mark.parametrize(
  "case",
  [
    {"train/*/1": "ab", "test/*/1": "ab", "extra/*/1": "ab"},
    {"train/*/1": "ab", "eval/*/1": "cd"},
    {"support/*/1": "ab", "new/*/1": "ab"},
    {"all/train/*/1": "ab", "all/holdout/*/1": "ab"},
  ],
)
@pytest.mark.parametrize("read", [class_folders, support_folders])
def test_a_level_beside_folders_of_another_name_is_refused(tmp_path, read, case):
  """The same classes would stand on both sides of a split."""
  _level(tmp_path, case)
  with pytest.raises(InputError, match="a level of folders, beside .*: name all of them"):
    read(tmp_path)


def test_a_split_without_validation_says_what_is_missing(tmp_path: Path):
  _level(tmp_path, {"train/*/1": "abc", "test/*/1": "de"})
  with pytest.raises(InputError, match="leaves no class for val: give it some"):
    load_splits(DataConfig(source="folder", path=str(tmp_path)))


def test_levels_without_classes_in_them_are_refused(tmp_path: Path):
  for name in ("train/1.png", "train/2.png", "test/1.png"):
    _save(tmp_path, name)
  with pytest.raises(InputError, match="3 images that lie outside of any class folder"):
    class_folders(tmp_path)


def test_of_a_support_with_queries_the_support_is_taken(tmp_path, capsys):
  for n, case in enumerate(
    (
      {"support/*/1": "ab", "query/*/1": "ab"},
      {"*/support/1": "ab"},
      {"*/supports/1": "ab", "*/Queries/1": "ab"},
    )
  ):
    root = tmp_path / str(n)
    _level(root, case)
    found = support_folders(root)
    assert list(found) == ["a", "b"]
    assert all("support" in str(path) for paths in found.values() for path in paths)
    assert sum(map(len, found.values())) == 2
  assert "of query/, support/ the support is taken" in capsys.readouterr().out


@pytest.mark.parametrize(
  "case",
  [
    {"train/*/1": "ab", "test/*/1": "ab"},
    {"*/train/1": "ab", "*/test/1": "ab"},
    {"query/*/1": "ab"},
  ],
)
def test_a_support_of_other_parts_is_refused(tmp_path: Path, case: dict[str, str]):
  _level(tmp_path, case)
  with pytest.raises(InputError, match=r"has .*/.* where classes are expected.*--support"):
    support_folders(tmp_path)


def test_a_class_of_queries_alone_is_named(tmp_path: Path):
  _level(tmp_path, {"support/*/1": "ab", "query/*/1": "abc"})
  with pytest.raises(InputError, match="the class 'c' in .* has no image in support/"):
    support_folders(tmp_path)


def test_classes_of_one_value_are_named_with_their_files(tmp_path: Path, capsys):
  for name in ("a/1.png", "a/2.png", "[b]/1.png", "c/x.png"):
    _save(tmp_path, name, 255)
  ink = np.full((4, 4), 255, np.uint8)
  ink[1, 1] = 0
  for name in ("a/2.png", "c/x.png"):
    Image.fromarray(ink).save(tmp_path / name)
  with pytest.raises(InputError, match="no class for val: its 3 classes are too few"):
    load_splits(DataConfig(source="folder", path=str(tmp_path)))
  out = capsys.readouterr().out
  assert "2 of 4 images are all of one value: [b]/1.png of class '[b]', a/1.png of" in out


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


def _listed(root: Path) -> None:
  """Three lists of four classes, as miniImageNet has them; one image is in no list."""
  lists = {"train": "ab", "val": "c", "test": "d"}
  for part, names in lists.items():
    rows = [f"{n}{i}.png,{n}\n" for n in names for i in (10, 2)]
    (root / f"{part}.csv").write_text("".join(["filename,label\n", *rows]))
    for value, row in enumerate(rows):
      _save(root, f"images/{row.partition(',')[0]}", 10 * value + ord(row[0]), mode="RGB")
  _save(root, "images/other.png")


def test_lists_take_the_place_of_folders(tmp_path: Path):
  """Classes by label, split by the list that names them; images in natural order."""
  root = tmp_path / "miniimagenet"
  root.mkdir()
  _listed(root)
  raw = read_folder(root, AS_IT_IS)
  assert raw.classes == ("a", "b", "c", "d") and raw.name == "miniimagenet"
  np.testing.assert_array_equal(raw.labels, [0, 0, 1, 1, 2, 2, 3, 3])
  np.testing.assert_array_equal(raw.split, [0, 0, 1, 2])
  assert raw.images.shape == (8, 4, 4, 1)  # equal channels are one
  assert raw.images[0, 0, 0, 0] == 10 + ord("a")  # a2 before a10
  splits = load_splits(DataConfig(source="folder", path=str(root)))
  assert splits.classes == (("a", "b"), ("c",), ("d",))


@pytest.mark.parametrize(
  ("content", "error", "said"),
  [
    ("a2.png,a\n", InputError, "has the columns a2.png, a: its first line must be"),
    ("filename,label\na2.png\n", InputError, "line 2 of .*train.csv lacks a filename"),
    ("filename,label\nb.png,b\n", MissingError, "names b.png, which is neither in"),
    ("", InputError, "has the columns none"),
  ],
)
def test_lists_that_cannot_be_read(
  tmp_path: Path, content: str, error: type[Exception], said: str
):
  _listed(tmp_path)
  (tmp_path / "train.csv").write_text(content)
  with pytest.raises(error, match=said):
    read_folder(tmp_path, AS_IT_IS)
