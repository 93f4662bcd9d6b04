"""Documents of several sources: which are for training, and which for test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from mcdi_jax.data.texts import field_of, objects_of
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.progress import CONSOLE

SPLITS = ("train", "val", "test", "val_unseen_source", "test_unseen_source")
_GRAM = 16  # tokens; documents that share a tenth of these are near-duplicates
_SHARED = 0.1


class Corpus(NamedTuple):
  """Documents, one after the other.

  Attributes:
    texts, sources, splits: of each: its text, where it is from, and one of `SPLITS`.
    name: for results.
  """

  texts: tuple[str, ...]
  sources: tuple[str, ...]
  splits: tuple[str, ...]
  name: str


def read_corpus(path: PathLike, *, setting: str = "config.data.path") -> Corpus:
  """Of a `.jsonl` (or `.jsonl.xz`) whose lines have a `text`, a `source` and a `split`; or
  of a folder with a folder of text files a source, of which every fifth source, by name, is
  held out, and of the others every fifth document.

  Raises:
    MissingError, InputError, DamagedError: neither, or what is no text.
  """
  place = files.as_path(path)
  if place.is_dir():
    return _of_folder(place, setting)
  if not str(path).endswith((".jsonl", ".jsonl.xz")):
    raise MissingError(
      f"{setting} is {str(path)!r}: give a .jsonl of documents, or a folder with a folder "
      "of text files a source"
    )
  found = []
  for number, line in objects_of(path, setting):
    names = ("text", "source", "split")
    text, source, split = (field_of(line, name, number, path) for name in names)
    if split not in SPLITS:
      raise InputError(
        f"line {number} of {path} has the split {split!r}: it must be one of {[*SPLITS]}"
      )
    found.append((text, source, split))
  return Corpus(*map(tuple, zip(*found, strict=True)), place.name.split(".")[0])


def _of_folder(place: files.Path, setting: str) -> Corpus:
  sources = sorted((p for p in place.iterdir() if p.is_dir()), key=lambda p: p.name)
  if len(sources) < 5:
    raise InputError(
      f"{setting} {place} has {len(sources)} folders: at least five sources are needed, as "
      "every fifth is held out"
    )
  found = []
  for n, source in enumerate(sources):
    for m, file in enumerate(sorted(p for p in source.iterdir() if p.is_file())):
      found.append((_text(file), source.name, _split(n, m)))
  if not found:
    raise InputError(f"{setting} {place} has no text file: its folders are empty")
  return Corpus(*map(tuple, zip(*found, strict=True)), place.name)


def _split(source: int, document: int) -> str:
  """Of held-out sources documents take turns for validation and for test."""
  turn = document % 10
  if source % 5 == 4:
    return "val_unseen_source" if turn % 3 == 2 else "test_unseen_source"
  return {4: "val", 9: "test"}.get(turn, "train")


def read_document(path: PathLike) -> str:
  """Raises `MissingError` or `DamagedError` where there is no text; an empty one, too."""
  place = files.as_path(path)
  if not place.is_file():
    raise MissingError(f"there is no file {place}: name a text")
  text = _text(place)
  if not text.strip():
    raise DamagedError(f"{place} is empty: name a text")
  return text


def _text(file: files.Path) -> str:
  try:
    return files.read_bytes(file).decode("utf-8-sig")
  except UnicodeDecodeError:
    raise DamagedError(f"{file} is no text in UTF-8: take it away, or save it so") from None


def say_overlaps(
  rows: Sequence[np.ndarray], split: np.ndarray, support: int, length: int
) -> None:
  """How much of what is predicted in tests stands in training documents, or in the support
  that it follows.

  Args:
    split: int [n]; of each row, its place in `SPLITS`; −1: it is left out.
    support, length: tokens of a support, and of it with the queries.
  """
  trained = _known([rows[n] for n in np.flatnonzero(split == 0)])
  for name in ("test", "test_unseen_source"):
    tests = [rows[n] for n in np.flatnonzero(split == SPLITS.index(name))]
    asked = [(row[:support], row[support:length]) for row in tests]
    pairs = [(_overlap(q, trained), _overlap(q, _known([own]))) for own, q in asked]
    of_training, of_own = 100 * np.mean(pairs or [(0.0, 0.0)], axis=0)
    CONSOLE.print(
      f"{name}: of queries' runs of {_GRAM} tokens {of_training:.1f} % stand in training "
      f"documents, {of_own:.1f} % in their own support"
    )


def near_duplicates(rows: Sequence[np.ndarray]) -> np.ndarray:
  """int [n]; documents with one number are near-duplicates, or linked by some: of the
  shorter's runs of 16 tokens a tenth is in the other.

  Args:
    rows: tokens of each.
  """
  runs = [_known([row]) for row in rows]
  number = np.array([*map(len, runs)])
  _, column = np.unique(np.concatenate(runs), return_inverse=True)
  owner = np.repeat(np.arange(len(rows)), number)
  table = scipy.sparse.csr_array((np.ones(len(owner)), (owner, column)))
  table.resize(len(rows), table.shape[1])
  shared = (table @ table.T).tocoo()
  i, j = shared.coords
  much = shared.data >= _SHARED * np.minimum(number[i], number[j])
  near = scipy.sparse.coo_array((much[much], (i[much], j[much])), shape=shared.shape)
  return scipy.sparse.csgraph.connected_components(near)[1]


def _known(rows: Sequence[np.ndarray]) -> np.ndarray:
  """uint64, rising: the runs of 16 tokens that rows have."""
  return np.unique(np.concatenate([np.zeros(0, np.uint64), *map(_runs, rows)]))


def _overlap(row: np.ndarray, known: np.ndarray) -> float:
  """The share of a row's runs of 16 tokens that are among known ones, uint64, rising."""
  own = _runs(row)
  if not len(own) or not len(known):
    return 0.0
  place = np.minimum(np.searchsorted(known, own), len(known) - 1)
  return float((known[place] == own).mean())


def _runs(row: np.ndarray) -> np.ndarray:
  """A number for each run of 16 tokens."""
  if len(row) < _GRAM:
    return np.zeros(0, np.uint64)
  found = np.lib.stride_tricks.sliding_window_view(row.astype(np.uint64), _GRAM)
  factors = np.uint64(6364136223846793005) ** np.arange(_GRAM, dtype=np.uint64)
  return (found * factors).sum(1, dtype=np.uint64)
