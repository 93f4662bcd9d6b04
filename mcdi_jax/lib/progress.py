"""Progress on long work: a bar on a terminal, a line now and then in a log file.

What is printed is text, never markup: names of users' files and classes are among it.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 20.0


class _Stdout:
  """sys.stdout, where a letter that its encoding lacks is escaped instead of an error."""

  def write(self, text: str) -> int:
    encoding = getattr(self._stream, "encoding", None) or "utf-8"
    return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

  @property
  def _stream(self) -> Any:  # while a bar is shown, rich stands in sys.stdout's place
    return getattr(sys.stdout, "rich_proxied_file", sys.stdout)

  @property
  def rich_proxied_file(self) -> "_Stdout":
    return self

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)


CONSOLE = Console(
  file=_Stdout(), markup=False, emoji=False, highlight=False, soft_wrap=True
)


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
  """Says how long what is done inside took, when it ends."""
  start = time.monotonic()
  yield
  CONSOLE.print(f"{title}: {time.monotonic() - start:.0f} s")


class Bar:
  """`with Bar("backbone", 2000) as bar: bar.update(step, "loss 0.12")`."""

  def __init__(self, title: str, total: int):
    self._title, self._total = title, total
    self._live: Progress | None = None
    self._start = self._last = time.monotonic()

  def __enter__(self) -> "Bar":
    if CONSOLE.is_terminal:
      self._live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=CONSOLE,
      )
      self._live.start()
      self._task = self._live.add_task(self._title, total=self._total, text="")
    return self

  def update(self, done: int, text: str = "") -> None:
    if self._live:
      self._live.update(self._task, completed=done, text=text)
      return
    now = time.monotonic()
    if now - self._last >= _SECONDS_BETWEEN_LINES:
      self._last = now
      self.note(done, text)

  def note(self, done: int, text: str) -> None:
    """A line that stays."""
    seconds = time.monotonic() - self._start
    CONSOLE.print(f"{self._title} {done}/{self._total} [{seconds:.0f} s] {text}")

  def __exit__(self, *exception: object) -> None:
    if self._live:
      self._live.stop()
