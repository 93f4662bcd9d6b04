"""Predictions, and the CSV that they are written to."""

import csv
import io
from typing import NamedTuple

import numpy as np

from mcdi_jax.data.names import printable
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.files import Path, PathLike

_COLUMNS = ("file", "class", "probability")
_FORMULA = ("=", "+", "-", "@", "'")


class Predictions(NamedTuple):
  """files: n names. classes: N names. probabilities: float [n, N], each row sums to 1;
  of a distribution, the mean over its samples. unreadable: a sentence on the files that
  could not be read, all of them; None: all were."""

  files: tuple[str, ...]
  classes: tuple[str, ...]
  probabilities: np.ndarray
  unreadable: str | None = None


def predictions_file(path: PathLike) -> Path:
  """Where a CSV may be written: nothing is there, or predictions that were written before.

  Raises:
    InputError: it may not.
  """
  begin = ",".join(_COLUMNS).encode()
  return outputs.checked(path, "--csv", ours=lambda content: content.startswith(begin))


def write_predictions(path: PathLike, found: Predictions) -> None:
  """A CSV: file, class, probability, then the probability of each class, `p:` and its
  name. Names are `printable`; one that a spreadsheet would take for a formula (it begins
  with = + - @), or that begins with ', has a ' before it."""
  text = io.StringIO()
  rows = csv.writer(text, lineterminator="\n")
  rows.writerow([*_COLUMNS, *(f"p:{printable(name)}" for name in found.classes)])
  for file, p in zip(found.files, found.probabilities, strict=True):
    best = int(p.argmax())
    numbers = [f"{v:.6f}" for v in (p[best], *p)]
    rows.writerow([_cell(file), _cell(found.classes[best]), *numbers])
  files.write_bytes(predictions_file(path), text.getvalue().encode())


def _cell(name: str) -> str:
  name = printable(name)
  return f"'{name}" if name.startswith(_FORMULA) else name
