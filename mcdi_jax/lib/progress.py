"""Progress on long work: a bar on a terminal, a line now and then in a log file."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

CONSOLE = Console(highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 20.0


class Bar:
  """`with Bar("backbone", 2000) as bar: bar.update(step, "loss 0.12")`."""

  def __init__(self, title: str, total: int):
    self._title, self._total = title, total
    self._live: Progress | None = None
    self._start = self._last = time.monotonic()

  def __enter__(self) -> "Bar":
    if CONSOLE.is_terminal:
      columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total}")
      self._live = Progress(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
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
