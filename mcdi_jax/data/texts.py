"""Texts of classes, and texts to label, from files of a user's: a JSON object a line, or
plain lines."""

import lzma
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.data.names import natural_key, printable
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike

_ENDINGS = (".jsonl", ".jsonl.xz", ".txt")
_SPLITS = ("train", "val", "test")
_UNPAIRED = re.compile("[\ud800-\udfff]")  # surrogates, which no encoding has
_TEXTS = ("text", "a", "b")  # fields that are kept as they are


class Texts(NamedTuple):
  """Labelled texts.

  Attributes:
    texts: n.
    labels: int32 [n] in 0..C−1, every class present.
    classes: C names, in natural order.
    split: int [C] of 0/1/2 = train/val/test, where lines say it.
    domain: names [n], where lines say it.
    name: of the file.
  """

  texts: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]
  split: np.ndarray | None
  domain: np.ndarray | None
  name: str


def are_texts(path: PathLike) -> bool:
  """By the name of the file."""
  return str(path).endswith(_ENDINGS) and not files.as_path(path).is_dir()


def read_labelled_texts(path: PathLike, *, setting: str) -> Texts:
  """Of a `.jsonl` (or `.jsonl.xz`) file: each line has a `text` and a `label`; optionally a
  `domain`, and a `class_split`, the same on all lines of a class.

  Raises:
    MissingError, DamagedError, InputError: no file, none of text, or a line without these.
  """
  if str(path).endswith(".txt"):
    raise InputError(
      f"{setting} {path} has texts without labels: give a .jsonl whose lines have a 'text' "
      "and a 'label'"
    )
  lines = list(objects_of(path, setting))
  given = [field_of(line, "label", number, path) for number, line in lines]
  classes = tuple(sorted(set(given), key=natural_key))
  number_of = {name: n for n, name in enumerate(classes)}
  labels = np.array([number_of[label] for label in given], np.int32)
  texts = tuple(field_of(line, "text", number, path) for number, line in lines)
  domain = None
  if any("domain" in line for _, line in lines):
    domain = np.array([field_of(line, "domain", number, path) for number, line in lines])
  name = files.as_path(path).name.split(".")[0]
  return Texts(texts, labels, classes, _split(lines, given, path), domain, name)


def read_texts(path: PathLike, *, setting: str) -> tuple[str, ...]:
  """Of lines as above, whose labels are passed over; of a `.txt`, all but blank ones."""
  if str(path).endswith(".txt"):
    found = tuple(line.strip() for line in _lines(path, setting) if line.strip())
  else:
    found = tuple(field_of(line, "text", n, path) for n, line in objects_of(path, setting))
  if not found:
    raise InputError(f"{setting} {path} has no text: there is nothing to label")
  return found


def _lines(path: PathLike, setting: str) -> list[str]:
  place = files.as_path(path)
  if not place.exists():
    raise MissingError(f"{setting} is {str(path)!r}, where there is no file")
  content = files.read_bytes(place)
  try:
    content = lzma.decompress(content) if str(path).endswith(".xz") else content
    return re.split("\r\n|\r|\n", content.decode("utf-8-sig"))
  except (lzma.LZMAError, EOFError, UnicodeDecodeError):
    raise DamagedError(
      f"{setting} {path} is no text: give one in UTF-8, or give another copy"
    ) from None


def objects_of(path: PathLike, setting: str) -> Iterable[tuple[int, dict[str, Any]]]:
  """Each line that is not blank, and its number."""
  lines = [(n, x) for n, x in enumerate(_lines(path, setting), 1) if x.strip()]
  if not lines:
    raise InputError(f"{setting} {path} is empty: give lines with a 'text' and a 'label'")
  for number, line in lines:
    found = files.from_json(line)
    if not isinstance(found, dict):
      raise InputError(f"line {number} of {path} is no JSON object: each line must be one")
    yield number, found


def field_of(line: dict[str, Any], name: str, number: int, path: PathLike) -> str:
  """As text, whatever it was given as."""
  value = line.get(name)
  if value is None or isinstance(value, (dict, list)) or not str(value).strip():
    raise InputError(f"line {number} of {path} has no {name!r}: each line must have one")
  if _UNPAIRED.search(str(value)):
    raise InputError(f"{name!r} in line {number} of {path} has half a character: mend it")
  return str(value) if name in _TEXTS else printable(str(value))


def _split(
  lines: list[tuple[int, dict[str, Any]]], labels: list[str], path: PathLike
) -> np.ndarray | None:
  """Of the classes, where lines say it, all of them and alike."""
  if not any("class_split" in line for _, line in lines):
    return None
  found: dict[str, str] = {}
  for (number, line), label in zip(lines, labels, strict=True):
    own = field_of(line, "class_split", number, path)
    if own not in _SPLITS:
      raise InputError(
        f"line {number} of {path} has the class_split {own!r}: it must be one of "
        f"{list(_SPLITS)}"
      )
    if found.setdefault(label, own) != own:
      raise InputError(
        f"class_split of {label!r} in {path} is {found[label]!r} and, in line {number}, "
        f"{own!r}: a class is of one split"
      )
  order = sorted(found, key=natural_key)
  return np.array([_SPLITS.index(found[name]) for name in order])
