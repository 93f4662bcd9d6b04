"""Programs are let go before a process has no place for the next one."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mcdi_jax.lib import programs

LINUX = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux alone")


def _places() -> int:
  return Path("/proc/self/maps").read_bytes().count(b"\n")


@LINUX
def test_what_programs_have_taken_is_given_back():
  """And what they compute is there again when it is asked for."""
  programs.make_room(share=0.0)
  before, made = _places(), [jax.jit(lambda x, n=n: jnp.sin(x) * n) for n in range(40)]
  found = [float(fn(1.0)) for fn in made]
  held = _places()
  assert held > before + 40
  assert not programs.make_room(share=0.9)  # there is room: nothing happens
  assert _places() >= held
  assert programs.make_room(share=0.0)
  assert _places() < before + (held - before) / 4
  assert [float(fn(1.0)) for fn in made] == found


@LINUX
def test_memory_is_a_reason_too():
  assert programs.make_room(most_bytes=1)


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(programs, "_HELD", Path("/nowhere"))
  assert not programs.make_room(share=0.0)
