"""Tasks of labelled texts, such as GLUE's (Wang et al. 2019), from a file of a user's."""

from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.data.names import natural_key
from mcdi_jax.data.texts import field_of, objects_of
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.progress import CONSOLE

Text = str | tuple[str, str]


class TextTask(NamedTuple):
  """Texts of one task.

  Attributes:
    texts: each one text, or two that the question is about.
    labels: int32 [n] in 0..C−1, every class present.
    classes: C names.
  """

  texts: tuple[Text, ...]
  labels: np.ndarray
  classes: tuple[str, ...]


def read_text_tasks(path: PathLike, *, setting: str) -> dict[str, TextTask]:
  """Of a `.jsonl` (or `.jsonl.xz`) file, by name: each line has a `task`, a text as `a`,
  optionally a second one as `b`, and a `label`: a name, which is one of `choices` where
  a line has these, or as a whole number a place among them from 0. Tasks whose choices are
  others in each line are left out, and that is said.

  Raises:
    MissingError, DamagedError, InputError: no file, none of text, or a line without these.
  """
  rows: dict[str, list[tuple[Text, str]]] = {}
  choices: dict[str, set[tuple[str, ...]]] = {}
  for number, line in objects_of(path, setting):
    name = field_of(line, "task", number, path)
    given = tuple(map(str, line.get("choices") or ()))
    choices.setdefault(name, set()).add(given)
    text: Text = field_of(line, "a", number, path)
    if line.get("b") is not None:
      text = (text, field_of(line, "b", number, path))
    rows.setdefault(name, []).append((text, _label(line, given, number, path)))
  varied = sorted(name for name, own in choices.items() if len(own) > 1)
  if varied:
    CONSOLE.print(f"{', '.join(varied)}: left out, as each line has choices of its own")
  found = {name: _task(own) for name, own in rows.items() if name not in varied}
  alone = [name for name, task in found.items() if len(task.classes) < 2]
  if alone or not found:
    which = f"{alone[0]} has one label" if alone else "no task has choices that stay"
    raise InputError(f"{setting} {path}: {which}, and a task needs two at least")
  return found


def _label(
  line: dict[str, Any], choices: tuple[str, ...], number: int, path: PathLike
) -> str:
  label = field_of(line, "label", number, path)
  if not choices:
    return label
  place = line["label"]
  if isinstance(place, int) and 0 <= place < len(choices):
    return choices[place]
  if isinstance(place, int) or label not in choices:
    raise InputError(
      f"line {number} of {path} has the label {label!r}: it must be one of its choices "
      f"{[*choices]}, or as a whole number a place among them from 0"
    )
  return label


def _task(rows: list[tuple[Text, str]]) -> TextTask:
  classes = tuple(sorted({label for _, label in rows}, key=natural_key))
  labels = np.array([classes.index(label) for _, label in rows], np.int32)
  return TextTask(tuple(text for text, _ in rows), labels, classes)
