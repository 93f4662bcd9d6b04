"""What is printed is text, on whatever stream."""

import io
import sys
from typing import Any

import pytest
from rich.table import Table

from mcdi_jax.lib.progress import CONSOLE, Bar, stage

NAMES = "[bold]x[/bold] [/v] :smile: class[1] [red]"


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
  """`stream(encoding)` takes stdout's place; its `.text()` is what was printed."""

  def make(encoding: str, terminal: bool = False) -> Any:
    class Stream(io.TextIOWrapper):
      def isatty(self) -> bool:
        return terminal

      def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(encoding)

    made = Stream(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", made)
    return made

  return make


def test_brackets_and_colons_are_printed_as_they_are(stream: Any):
  out = stream("utf-8")
  CONSOLE.print(NAMES)
  table = Table("[/v]", title=NAMES, caption=NAMES)
  table.add_row(NAMES)
  CONSOLE.print(table)
  assert out.text().count(NAMES) == 4
  assert out.text().count("[/v]") == 5


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_stream_stops_the_work(
  stream: Any, monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool
):
  """Neither a line, nor a table, nor a bar whose title is a name; a file name that is not
  UTF-8 (a lone surrogate) is no obstacle either."""
  monkeypatch.setattr(CONSOLE, "_force_terminal", terminal or None)
  out = stream(encoding, terminal)
  CONSOLE.print("1−α, ᾱ \udcff")
  CONSOLE.print(Table("ᾱ"))
  with Bar("ᾱ [/v]", 3) as bar:
    bar.update(1, "− [/v]")
    bar.note(2, "− [/v]")
  found = out.text()
  assert ("ᾱ" if encoding == "utf-8" else r"\u1fb1") in found
  assert r"\udcff" in found
  assert "[/v]" in found


def test_a_stage_says_its_seconds_when_it_ends(stream: Any, monkeypatch):
  clock = iter([10.0, 53.2])
  monkeypatch.setattr("mcdi_jax.lib.progress.time.monotonic", lambda: next(clock))
  out = stream("utf-8")
  with stage("backbone"):
    assert out.text() == ""
  assert out.text() == "backbone: 43 s\n"
