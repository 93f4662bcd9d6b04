"""A bank that need not fit the memory: as much of it at a time as a setting says."""

from collections.abc import Callable
from typing import Generic, TypeVar

from mcdi_jax.preparation import Shards

Source = TypeVar("Source")


class Windows(Generic[Source]):
  """Parts of a bank that take turns, each for some steps. Which one a step has depends on
  its number alone, so that a run that goes on draws the same tasks."""

  def __init__(self, make: Callable[[int], Source], number: int, period: int):
    """
    Args:
      make: reads the window with this number.
      number: of windows.
      period: steps that each stays.
    """
    self.number, self._make, self._period = number, make, period
    self._held: tuple[int, Source] | None = None

  def at(self, step: int) -> Source:
    """What the tasks of a step are drawn from. The step is a number of the host: one of
    the device would be waited for."""
    window = step // self._period % self.number
    if self._held is None or self._held[0] != window:
      self._held = None  # two at once would be beyond what is allowed
      self._held = window, self._make(window)
    return self._held[1]


def windows_of(banks: list[Shards], limit: int) -> list[list[list[int]]]:
  """The shards that each window has of each bank: all in one window if their files are no
  larger than `limit` bytes together, else as many whole shards of each as fit, one at
  least; all windows have as many, so that nothing is compiled again."""
  if sum(bank.bytes for bank in banks) <= limit:
    return [[list(range(len(bank.sizes))) for bank in banks]]
  whole = [[s for s, n in enumerate(bank.sizes) if n == bank.sizes[0]] for bank in banks]
  each = sum(bank.bytes / len(bank.sizes) for bank in banks)
  per = max(1, int(limit / each))
  number = -(-max(map(len, whole)) // per)
  return [
    [[own[(w * per + i) % len(own)] for i in range(min(per, len(own)))] for own in whole]
    for w in range(number)
  ]
