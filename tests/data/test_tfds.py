"""TFDS's Omniglot, read without TensorFlow, from a miniature under its official name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfds_in_miniature import png, write_tfds

from mcdi_jax.data import DataConfig, Splits, load_splits
from mcdi_jax.data.images import resize, to_grey
from mcdi_jax.data.tfds import prepare_command, read_tfds
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

# Names as TFDS has them, in an order that is not that of the list, and what they are in
# the folders of the original. The second half is in `test`, as the evaluation set is.
NAMES = {
  "Bengali_0": "Bengali/character01",
  "Arcadian_10": "Arcadian/character11",
  "Arcadian_9": "Arcadian/character10",
  "Tibetan_5": "Tibetan/character06",
  "Atlantean_3": "Atlantean/character04",
  "Keble_0": "Keble/character01",
}
SPLIT_OF = {"train": (0, 1, 2), "test": (3, 4, 5), "small1": (0, 1), "small2": (2,)}
DRAWINGS = 3
FORM = {"grey": True, "invert": "auto", "size": 28, "class_split": "omniglot"}


def _drawing(c: int, n: int) -> np.ndarray:
  """Strokes of many colours on white, 105×105×3."""
  rng = np.random.default_rng((c, n))
  image = np.full((105, 105, 3), 255, np.uint8)
  for _ in range(4):
    y, x = rng.integers(10, 60, 2)
    image[y : y + 30, x : x + 7] = rng.integers(0, 150, 3)
  return image


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A data_dir with the miniature; not to be changed."""
  data_dir = tmp_path_factory.mktemp("tfds")
  features = {
    "image": tfds.features.Image(shape=(105, 105, 3)),
    "label": tfds.features.ClassLabel(names=list(NAMES)),
  }
  examples = {
    split: [
      {"image": png(_drawing(c, n)), "label": c} for c in classes for n in range(DRAWINGS)
    ]
    for split, classes in SPLIT_OF.items()
  }
  write_tfds(data_dir, "omniglot", features, examples)
  return data_dir


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
  """A data_dir with the miniature, to be changed."""
  return Path(shutil.copytree(prepared, tmp_path / "data"))


def _load(data_dir: Path, name: str = "omniglot", **settings: Any) -> Splits:
  return load_splits(DataConfig(source="tfds", name=name, path=str(data_dir), **settings))


def _read(data_dir: Path, name: str = "omniglot", parts: tuple[str, ...] = ()) -> Any:
  return read_tfds(name, str(data_dir), lambda image: image, parts=parts)


def test_omniglot_is_read_under_its_official_name(prepared: Path):
  """Classes in the order of the list; `train` and `test` merged, each image once."""
  splits = _load(prepared, **FORM)
  assert splits.name == "omniglot"
  assert splits.image_shape == (28, 28, 1)
  assert splits.classes == (
    ("Arcadian_9", "Arcadian_10", "Atlantean_3"),
    ("Bengali_0",),
    ("Keble_0", "Tibetan_5"),
  )
  for items, names in zip(splits[:3], splits.classes, strict=True):
    assert len(items.x) == DRAWINGS * len(names)
    for c, name in enumerate(names):
      found = items.x[items.index[c, : items.count[c]]]
      place = list(NAMES).index(name)
      drawn = np.stack([_drawing(place, n) for n in range(DRAWINGS)])
      expected = 255 - resize(to_grey(drawn), (28, 28))
      assert {image.tobytes() for image in found} == {e.tobytes() for e in expected}
      assert (found[:, 0] == 0).all()


def test_the_same_images_give_the_same_digest_from_every_source(
  prepared: Path, tmp_path: Path
):
  """Whatever the order of the images, and of the namings that the list knows."""
  every = [(c, n) for c in range(len(NAMES)) for n in range(DRAWINGS)]
  for c, n in every:
    path = tmp_path / "folder" / list(NAMES.values())[c] / f"{n}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(_drawing(c, n)))
  mixed = np.random.default_rng(0).permutation(every)
  np.savez(
    tmp_path / "a.npz",
    images=np.stack([_drawing(c, n) for c, n in mixed]),
    labels=mixed[:, 0],
    classes=list(NAMES),
  )
  digest = _load(prepared, **FORM).digest
  for source, path in (("folder", "folder"), ("npz", "a.npz")):
    config = DataConfig(source=source, path=str(tmp_path / path), **FORM)
    assert load_splits(config).digest == digest


def test_parts_choose_the_splits_and_the_classes_in_them(prepared: Path):
  """`train` is not `small1`, which repeats a part of it but is read where it is named."""
  raw = _read(prepared, parts=("small1",))
  assert raw.classes == tuple(list(NAMES)[:2])
  assert len(raw.images) == 2 * DRAWINGS
  both = _read(prepared, parts=("test", "small2"))
  assert both.classes == tuple(list(NAMES)[2:])
  np.testing.assert_array_equal(np.bincount(both.labels), DRAWINGS)
  for image, label in zip(both.images, both.labels, strict=True):
    drawings = [_drawing(label + 2, n).tobytes() for n in range(DRAWINGS)]
    assert image.tobytes() in drawings


def test_a_version_may_be_named(prepared: Path):
  assert _read(prepared, "omniglot:3.0.0").name == "omniglot"


@pytest.mark.parametrize("part", ["validation", "train[:2]", "small"])
def test_an_unknown_part_shows_those_that_are_there(prepared: Path, part: str):
  with pytest.raises(InputError, match="config.data.parts has") as caught:
    _load(prepared, parts=("train", part))
  assert repr(part) in str(caught.value)
  for split in SPLIT_OF:
    assert repr(split) in str(caught.value)


@pytest.mark.parametrize(
  "name", ["cifar10", "no_such_set", "omniglot:9.9.9", "no such/set"]
)
def test_a_set_that_is_not_there_shows_what_is(prepared: Path, name: str):
  """Known to TFDS or not, or in another version: and how to prepare it."""
  with pytest.raises(MissingError, match=r"which has \['omniglot'\].*--data_dir") as caught:
    _load(prepared, name)
  said = str(caught.value)
  assert repr(name) in said
  assert prepare_command(name, str(prepared)) in said
  assert "\n" not in said


def test_a_data_dir_that_is_not_there_has_nothing(tmp_path: Path):
  with pytest.raises(MissingError, match=r"nowhere, which has \[\]"):
    _load(tmp_path / "nowhere")


def test_no_name_is_an_error_with_the_remedy(prepared: Path):
  with pytest.raises(InputError, match=r"config\.data\.name is ''.*--data tfds:omniglot"):
    _load(prepared, "")


@pytest.mark.parametrize("stored", ["tfrecord", "riegeli", None])
def test_a_copy_that_only_tensorflow_reads_says_how_to_make_another(
  copy: Path, stored: str | None
):
  """In another folder: over a copy in another form TFDS stops with an error.
  Old copies do not say that they are tfrecord."""
  info = copy / "omniglot/3.0.0/dataset_info.json"
  line = '"fileFormat": "array_record",'
  changed = line.replace("array_record", stored) if stored else ""
  assert line in info.read_text()
  info.write_text(info.read_text().replace(line, changed))
  with pytest.raises(InputError, match=f"stored as {stored or 'tfrecord'}") as caught:
    _load(copy, **FORM)
  beside = f"{copy}-array_record"
  said = str(caught.value)
  assert prepare_command("omniglot", beside) in said
  assert said.count(beside) == 2
  assert "\n" not in said


def _cut(size: int) -> Callable[[Path], object]:
  return lambda f: f.write_bytes(f.read_bytes()[:size])


def _flip(path: Path) -> None:
  content = bytearray(path.read_bytes())
  content[200] ^= 1
  path.write_bytes(bytes(content))


DAMAGES = {
  "a bit": _flip,
  "half": lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]),
  "a block": _cut(65536),
  "a little": _cut(100),
  "nothing left": _cut(0),
  "gone": Path.unlink,
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_record_is_named_with_the_remedy(copy: Path, case: str):
  DAMAGES[case](copy / "omniglot/3.0.0/omniglot-test.array_record-00000-of-00001")
  said = r"record \d+ of omniglot/test cannot be read \(.*prepare the set anew"
  with pytest.raises(DamagedError, match=said) as caught:
    _load(copy, **FORM)
  assert "\n" not in str(caught.value)
  assert len(_read(copy, parts=("train",)).images) == 3 * DRAWINGS


def test_a_cut_description_is_damage_too(copy: Path):
  info = copy / "omniglot/3.0.0/dataset_info.json"
  info.write_bytes(info.read_bytes()[:50])
  with pytest.raises(DamagedError, match="omniglot.*damaged: delete.*tfds-env") as caught:
    _load(copy, **FORM)
  assert str(copy) in str(caught.value)
