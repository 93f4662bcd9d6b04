"""Images that lists name: `train.csv`, `val.csv` and `test.csv` with the columns `filename`
and `label` beside the images or beside `images/`, as miniImageNet is handed on (Ravi &
Larochelle 2017)."""

import csv
from typing import NamedTuple

from mcdi_jax.data.names import listed, natural_key, printable
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike

LISTS = ("train.csv", "val.csv", "test.csv")
_COLUMNS = ("filename", "label")


class ClassFolder(NamedTuple):
  """name: of the class, its path below the root without `level`; level: such as `train`,
  empty where there is none; images: in natural order."""

  name: str
  level: str
  images: list[Path]


def listed_classes(root: PathLike) -> list[ClassFolder]:
  """The classes of each list that is there, in natural order; none without a list.

  Raises:
    InputError: a table without these columns, or a line without one of them.
    MissingError: an image that is named is not there.
  """
  root = files.as_path(root)
  found = []
  for name in LISTS:
    if (root / name).is_file():
      for label, images in _of_list(root, root / name).items():
        placed = sorted(images, key=lambda path: natural_key(path.name))
        found.append(ClassFolder(printable(label), name.removesuffix(".csv"), placed))
  return sorted(found, key=lambda folder: natural_key(folder.name))


def _of_list(root: Path, path: Path) -> dict[str, list[Path]]:
  """Images by label."""
  found: dict[str, list[Path]] = {}
  try:
    lines = path.read_text().splitlines()
  except UnicodeDecodeError:
    raise InputError(f"{path} is no text: give a table of filename,label") from None
  table = csv.DictReader(lines)
  if not set(_COLUMNS) <= set(table.fieldnames or ()):
    has = listed([printable(str(name)) for name in table.fieldnames or ()]) or "none"
    raise InputError(f"{path} has the columns {has}: its first line must be filename,label")
  places = [root / "images", root]
  for number, row in enumerate(table, 2):
    name, label = (row[column] for column in _COLUMNS)
    if not name or not label:
      raise InputError(f"line {number} of {path} lacks a filename or a label: complete it")
    image = next((p / name for p in places if (p / name).is_file()), None)
    if image is None:
      raise MissingError(
        f"{path} names {printable(name)}, which is neither in {root} nor in its images/: "
        "put it there, or take it off the list"
      )
    found.setdefault(label, []).append(image)
  return found
