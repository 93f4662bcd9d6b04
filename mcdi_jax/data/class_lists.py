"""Splits of a set's classes by lists of their names.

A list is a table (tab-separated). The first column says train, val or test, the others
name the class; a set may be known under several namings, one a column.
"""

from collections import Counter

import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError

SPLITS = ("train", "val", "test")
_SHIPPED = files.as_path(__file__).parent / "splits"


def order_by_list(name: str, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Where the classes of a set stand in a list.

  Args:
    name: of a list that ships with the package, or a path.

  Returns:
    Places in `classes` in the order of the list, and 0/1/2 for each of them.

  Raises:
    MissingError: no such list.
    InputError: a class that the list does not have, or a file that is no list.
  """
  split, namings = _read(name)
  known_to = lambda names: max(len(set(naming) & set(names)) for naming in namings)  # noqa: E731
  below = tuple(c.partition("/")[2] for c in classes)
  if not known_to(classes) and known_to(below):  # images_background/…, images_evaluation/…
    classes = below
  best = max(namings, key=lambda naming: len(set(naming) & set(classes)))
  known = {n: i for i, n in enumerate(best)}
  unknown = [c for c in classes if c not in known]
  if unknown:
    raise InputError(
      f"config.data.class_split {name!r} does not have the class {unknown[0]!r} (and "
      f"{len(unknown) - 1} more of {len(classes)}): complete the list, or leave the "
      "setting empty for a random split"
    )
  rank = np.asarray([known[c] for c in classes])
  order = np.argsort(rank)
  return order, split[rank[order]]


def _read(name: str) -> tuple[np.ndarray, list[tuple[str, ...]]]:
  """The split of each line, and the namings."""
  shipped = _SHIPPED / f"{name}.tsv"
  path = shipped if shipped.exists() else files.as_path(name)
  if not path.is_file():
    raise MissingError(
      f"config.data.class_split is {name!r}, where there is no file: give a table, or the "
      f"name of a shipped one, of {sorted(p.stem for p in _SHIPPED.glob('*.tsv'))}"
    )
  try:
    lines = path.read_text().splitlines()
  except UnicodeDecodeError:
    lines = []
  header, *rows = [line.split("\t") for line in lines if line.strip()] or [[]]
  fits = len(header) >= 2 and all(len(row) == len(header) for row in rows)
  if not fits or not rows or not {row[0] for row in rows} <= set(SPLITS):
    raise InputError(
      f"{path} is no list of classes: give a header and lines of train, val or test, a "
      "tab, and the name of a class"
    )
  split = np.asarray([SPLITS.index(row[0]) for row in rows])
  namings = list(zip(*(row[1:] for row in rows), strict=True))
  for naming in namings:
    twice = sorted(n for n, number in Counter(naming).items() if number > 1)
    if twice:
      raise InputError(f"{path} has the class {twice[0]!r} twice: leave one line of it")
  return split, namings
