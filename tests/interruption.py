"""Kills between two writes."""

from collections.abc import Callable
from typing import Any


def stop_at(number: int) -> Callable[[Any], None]:
  """A `disk.write_point` that stops at its n-th call."""
  count = []

  def point(path: Any) -> None:
    count.append(path)
    if len(count) == number:
      raise KeyboardInterrupt

  return point
