"""Splits of classes by lists of their names."""

from pathlib import Path

import numpy as np
import pytest

from mcdi_jax.data import DataConfig, Splits, class_lists, load_splits
from mcdi_jax.data.class_lists import order_by_list
from mcdi_jax.lib.errors import InputError, MissingError

_SHIPPED = Path(class_lists.__file__).parent / "splits" / "omniglot.tsv"
LINES = [line.split("\t") for line in _SHIPPED.read_text().splitlines()]
NAMINGS = dict(zip(LINES[0][1:], list(zip(*LINES[1:], strict=True))[1:], strict=True))


@pytest.mark.parametrize("naming", NAMINGS)
def test_omniglot_has_1028_172_and_423_classes_in_each_naming(naming: str):
  """All distinct; and from any order of the classes the list's own is found."""
  names = NAMINGS[naming]
  assert len(set(names)) == 1623
  shuffled = tuple(np.random.default_rng(0).permutation(names))
  order, split = order_by_list("omniglot", shuffled)
  assert tuple(shuffled[i] for i in order) == names
  np.testing.assert_array_equal(np.bincount(split), [1028, 172, 423])
  expected = [class_lists.SPLITS.index(line[0]) for line in LINES[1:]]
  np.testing.assert_array_equal(split, expected)


def test_the_namings_of_omniglot_name_the_same_characters():
  """`tfds` counts from 0, the others from 1; the alphabet is the same."""
  assert list(NAMINGS) == ["tfds", "original", "path", "folder"]
  for tfds, original, path, folder in zip(*NAMINGS.values(), strict=True):
    alphabet, number = tfds.rsplit("_", 1)
    number = int(number) + 1
    assert original == f"{alphabet}/character{number:02d}"
    assert path == f"{alphabet}/{number:02d}"
    assert folder == f"{alphabet}_{number:02d}"


def test_a_name_in_two_namings_is_placed_by_the_naming_of_the_others():
  """`Arcadian_10` is the eleventh character as TFDS counts, and the tenth in `folder`."""
  for naming in ("tfds", "folder"):
    names = NAMINGS[naming]
    order, _ = order_by_list("omniglot", names[::-1])
    place = names.index("Arcadian_10")
    assert names[::-1][order[place]] == "Arcadian_10"
  assert NAMINGS["tfds"].index("Arcadian_10") != NAMINGS["folder"].index("Arcadian_10")


def _write(path: Path, text: str) -> str:
  path.write_text(text)
  return str(path)


LIST = "split\tname\tcode\ntest\tz\t3\ntrain\ty\t1\nval\tx\t2\ntrain\tw\t4\n"


def test_some_of_the_classes_of_a_list_keep_its_order(tmp_path: Path):
  path = _write(tmp_path / "list.tsv", LIST)
  order, split = order_by_list(path, ("w", "z", "y"))
  np.testing.assert_array_equal(order, [1, 2, 0])
  np.testing.assert_array_equal(split, [2, 0, 0])


@pytest.mark.parametrize(
  "change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: f"{t}\n"]
)
def test_a_list_may_have_any_line_ends(tmp_path: Path, change):
  (tmp_path / "list.tsv").write_bytes(change(LIST).encode())
  order, split = order_by_list(str(tmp_path / "list.tsv"), ("1", "2", "3", "4"))
  np.testing.assert_array_equal(order, [2, 0, 1, 3])
  np.testing.assert_array_equal(split, [2, 0, 1, 0])


def _load(path: Path, names: tuple[str, ...], class_split: str) -> Splits:
  """Image n of class c has the brightness 10 c + n."""
  labels = np.repeat(np.arange(len(names)), 2)
  values = 10 * labels + np.arange(len(labels)) % 2
  images = np.full((len(labels), 3, 3, 1), values[:, None, None, None], np.uint8)
  own = np.zeros(len(names), int)  # of the authors: not what is asked for
  np.savez(path, images=images, labels=labels, classes=names, class_split=own)
  return load_splits(DataConfig(source="npz", path=str(path), class_split=class_split))


def test_a_list_orders_and_splits_the_classes_of_any_source(tmp_path: Path):
  path = _write(tmp_path / "list.tsv", LIST)
  splits = _load(tmp_path / "a.npz", ("w", "x", "y", "z"), path)
  assert splits.classes == (("y", "w"), ("x",), ("z",))
  values = [items.x[:, 0, 0, 0].tolist() for items in splits[:3]]
  assert values == [[20, 21, 0, 1], [10, 11], [30, 31]]
  for items in splits[:3]:
    np.testing.assert_array_equal(items.count, 2)


def test_the_order_of_the_classes_in_the_source_does_not_matter(tmp_path: Path):
  path = _write(tmp_path / "list.tsv", LIST)
  first = _load(tmp_path / "a.npz", ("w", "x", "y", "z"), path)
  labels = np.array([3, 3, 2, 2, 1, 1, 0, 0])
  with np.load(tmp_path / "a.npz") as content:
    np.savez(
      tmp_path / "b.npz", images=content["images"], labels=labels, classes=list("zyxw")
    )
  config = DataConfig(source="npz", path=str(tmp_path / "b.npz"), class_split=path)
  other = load_splits(config)
  assert other.classes == first.classes
  assert other.digest == first.digest


def test_a_class_that_the_list_lacks_is_named_and_the_others_counted(tmp_path: Path):
  path = _write(tmp_path / "list.tsv", LIST)
  with pytest.raises(InputError, match=r"class 'b' \(and 1 more of 4\)") as caught:
    order_by_list(path, ("z", "b", "y", "c"))
  assert "config.data.class_split" in str(caught.value)
  assert path in str(caught.value)


def test_two_namings_are_not_mixed(tmp_path: Path):
  """`y` and `1` are the same class."""
  path = _write(tmp_path / "list.tsv", LIST)
  with pytest.raises(InputError, match="does not have the class '1'"):
    order_by_list(path, ("z", "y", "1"))


def test_a_list_that_is_not_there_shows_those_that_ship(tmp_path: Path):
  for name in ("omniglott", str(tmp_path / "nowhere.tsv"), str(tmp_path)):
    with pytest.raises(MissingError, match=r"class_split.*\['omniglot'\]") as caught:
      order_by_list(name, ("a", "b"))
    assert repr(name) in str(caught.value)


MALFORMED = {
  "empty": "",
  "blank": "\n \n",
  "a header alone": "split\tname\n",
  "no tab": "split,name\ntrain,a\nval,b\n",
  "one column": "split\ntrain\nval\n",
  "no header": "train\ta\n",
  "a ragged line": "split\tname\ntrain\ta\nval\n",
  "a name too many": "split\tname\ntrain\ta\nval\tb\tc\n",
  "another split": "split\tname\ntrain\ta\ndev\tb\n",
  "capitals": "split\tname\nTrain\ta\nval\tb\n",
  "columns changed": "name\tsplit\na\ttrain\nb\tval\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_list_is_said(tmp_path: Path, case: str):
  path = _write(tmp_path / "list.tsv", MALFORMED[case])
  with pytest.raises(
    InputError, match="is no list of classes.*train, val or test"
  ) as caught:
    order_by_list(path, ("a", "b"))
  assert path in str(caught.value)


def test_a_file_that_is_no_text_is_said(tmp_path: Path):
  path = tmp_path / "list.tsv"
  path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
  with pytest.raises(InputError, match="is no list of classes"):
    order_by_list(str(path), ("a", "b"))


def test_a_class_must_not_be_in_a_list_twice(tmp_path: Path):
  """It would be in training and in test."""
  path = _write(tmp_path / "list.tsv", LIST + "test\ty\t5\n")
  with pytest.raises(InputError, match="the class 'y' twice"):
    order_by_list(path, ("w", "x", "y", "z"))


@pytest.mark.parametrize("left_out", ["train", "val", "test"])
def test_each_split_needs_a_class(tmp_path: Path, left_out: str):
  names = {"train": ("w", "y"), "val": ("x",), "test": ("z",)}
  chosen = tuple(n for split, ns in names.items() if split != left_out for n in ns)
  path = _write(tmp_path / "list.tsv", LIST)
  with pytest.raises(InputError, match=f"class split.*no class for {left_out}"):
    _load(tmp_path / "a.npz", chosen, path)


def test_classes_may_lie_in_a_further_folder():
  """As in the two folders of the original archive of Omniglot."""
  classes = (
    "images_evaluation/Angelic/character02",
    "images_background/Greek/character01",
    "images_evaluation/Angelic/character01",
  )
  order, split = order_by_list("omniglot", classes)
  plain = tuple(c.partition("/")[2] for c in classes)
  expected = order_by_list("omniglot", plain)
  np.testing.assert_array_equal(order, expected[0])
  np.testing.assert_array_equal(split, expected[1])
