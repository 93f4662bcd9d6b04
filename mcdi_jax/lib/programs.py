"""Compiled programs: how many of them a process may hold."""

import gc
import os
from pathlib import Path

import jax

_HELD, _MOST = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
_PAGES = Path("/proc/self/statm")


def make_room(*, share: float = 0.5, most_bytes: int = 1 << 62) -> bool:
  """Lets go of all compiled programs where they have taken this share of the places in the
  process's memory map, or the process this much memory; those that are needed again are
  compiled again.

  On CPU each program takes several places. Linux gives 65,530, and a program that finds
  none ends the process without a word, after some thousand others: an evaluation of many
  methods on many sets comes that far. Elsewhere there is nothing to do.

  Returns:
    Whether it let go.
  """
  if not (_HELD.exists() and _MOST.exists()):
    return False
  places = share * int(_MOST.read_text())
  memory = int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
  if _HELD.read_bytes().count(b"\n") <= places and memory <= most_bytes:
    return False
  jax.clear_caches()
  gc.collect()
  return True
