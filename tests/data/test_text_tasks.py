"""Tasks of labelled texts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mcdi_jax.data.text_tasks import read_text_tasks
from mcdi_jax.lib.errors import InputError


def _file(place: Path, *lines: dict[str, Any]) -> Path:
  path = place / "tasks.jsonl"
  path.write_text("\n".join(map(json.dumps, lines)))
  return path


def _line(task: str, a: Any, label: Any, **more: Any) -> dict[str, Any]:
  return {"task": task, "a": a, "label": label, **more}


def test_labels_are_names_or_places_among_choices(tmp_path: Path):
  choices = {"choices": ["no", "yes"]}
  path = _file(
    tmp_path,
    _line("one", "x", 1, **choices),
    _line("two", "p", "far", b="q"),
    _line("one", "y", "no", **choices),
    _line("two", "r", "near"),
  )
  found = read_text_tasks(path, setting="--data")
  assert [*found] == ["one", "two"]
  one, two = found.values()
  assert one.texts == ("x", "y") and one.classes == ("no", "yes")
  assert two.texts == (("p", "q"), "r") and two.classes == ("far", "near")
  assert one.labels.tolist() == [1, 0] and two.labels.tolist() == [0, 1]


def test_a_whole_number_is_a_place_also_where_choices_are_numbers(tmp_path: Path):
  lines = [_line("t", "x", given, choices=[1, 0]) for given in (0, "0", "1")]
  (task,) = read_text_tasks(_file(tmp_path, *lines), setting="--data").values()
  assert [task.classes[label] for label in task.labels] == ["1", "0", "1"]


def test_tasks_with_choices_of_each_line_are_left_out(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  path = _file(
    tmp_path,
    _line("asked", "x", 0, choices=["a", "b"]),
    _line("asked", "y", 1, choices=["c", "d"]),
    _line("kept", "x", 0, choices=["a", "b"]),
    _line("kept", "x", 1, choices=["a", "b"]),
  )
  assert [*read_text_tasks(path, setting="--data")] == ["kept"]
  assert "asked: left out" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("lines", "message"),
  [
    ([_line("t", "x", 2, choices=["a", "b"])], "line 1 of"),
    ([_line("t", "x", -1, choices=["a", "b"])], "a place among them from 0"),
    ([_line("t", "x", "c", choices=["a", "b"])], "a place among them from 0"),
    ([_line("t", "x", 0, choices=["a", "b"])], "t has one label"),
    ([_line("t", "", 0)], "has no 'a'"),
    ([{"a": "x", "label": 1}], "has no 'task'"),
    ([_line("t", "x", None)], "has no 'label'"),
    ([_line("t", "x", "p"), _line("t", "y", "q", b=" ")], "has no 'b'"),
  ],
)
def test_what_is_wrong_is_told(tmp_path: Path, lines: list[Any], message: str):
  with pytest.raises(InputError, match=re.escape(message)):
    read_text_tasks(_file(tmp_path, *lines), setting="--data")
