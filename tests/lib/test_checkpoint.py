"""Checkpoints: exact, checked, and the newest intact one is found."""

from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, load_tree, save_tree
from mcdi_jax.lib.errors import DamagedError, MissingError


class State(NamedTuple):
  step: Any
  params: Any
  opt_state: Any


def _state(step: int) -> State:
  """Like a training state: nested params, and optax's own NamedTuples."""
  key = jax.random.key(step)
  params = {"a": [jax.random.normal(key, (3, 2))], "b": {"c": jnp.float32(1e-40)}}
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
  opt_state = optimiser.init(params)
  _, opt_state = optimiser.update(params, opt_state, params)
  return State(jnp.int32(step), params, opt_state)


def _damage(directory: Path) -> None:
  """Flips one bit in the largest file."""
  found = [f for f in Path(directory).rglob("*") if f.is_file()]
  path = max(found, key=lambda f: f.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(bytes(content))


def test_a_state_comes_back_exactly(tmp_path: Path):
  """Bit for bit, with dtypes, into the same NamedTuples; the template has no values."""
  place = files.as_path(tmp_path / "state")
  save_tree(place, _state(3))
  found = load_tree(place, jax.eval_shape(lambda: _state(0)))
  chex.assert_trees_all_equal(found, _state(3), strict=True)
  assert jax.tree.structure(found) == jax.tree.structure(_state(3))


def test_saving_replaces_what_was_there(tmp_path: Path):
  place = files.as_path(tmp_path / "state")
  save_tree(place, {"old": jnp.ones(2)})
  save_tree(place, _state(1))
  chex.assert_trees_all_equal(load_tree(place, _state(0)), _state(1))


def test_a_missing_checkpoint_is_named(tmp_path: Path):
  with pytest.raises(MissingError, match="nothing"):
    load_tree(files.as_path(tmp_path / "nothing"), _state(0))


def test_damage_is_named(tmp_path: Path):
  """A flipped bit, a file that is gone, a save that was cut before its checksums."""
  for number, name in enumerate(("bit", "file", "cut")):
    place = files.as_path(tmp_path / name)
    save_tree(place, {"a": jnp.arange(100.0)})
    if number == 0:
      _damage(place)
    elif number == 1:
      data = [f for f in Path(place).rglob("*") if f.is_file() and "sha" not in f.name]
      data[0].unlink()
    else:
      (place / "sha256.json").unlink()
    with pytest.raises(DamagedError, match=name):
      load_tree(place, {"a": jnp.zeros(100)})


@pytest.mark.parametrize(
  "template",
  [
    {"a": jnp.zeros(3), "b": jnp.zeros(2)},
    {"c": jnp.zeros(3)},
    {"a": jnp.zeros(4)},
    [jnp.zeros(3)],
  ],
  ids=["one more", "another name", "another shape", "another container"],
)
def test_another_structure_is_damage(tmp_path: Path, template: Any):
  place = files.as_path(tmp_path / "state")
  save_tree(place, {"a": jnp.ones(3)})
  with pytest.raises(DamagedError, match="state"):
    load_tree(place, template)


def test_the_newest_two_are_kept(tmp_path: Path):
  checkpoints = Checkpoints(files.as_path(tmp_path / "c"), keep=2)
  assert checkpoints.steps() == []
  assert checkpoints.restore(_state(0)) is None
  for step in (2, 10, 9):
    checkpoints.save(step, _state(step))
  assert checkpoints.steps() == [9, 10]  # by number, not by name
  step, state = checkpoints.restore(_state(0))
  assert step == 10
  chex.assert_trees_all_equal(state, _state(10))


def test_a_damaged_step_gives_way_to_the_one_before(tmp_path: Path, caplog):
  checkpoints = Checkpoints(files.as_path(tmp_path / "c"))
  for step in (1, 2):
    checkpoints.save(step, _state(step))
  _damage(checkpoints.directory / "2")
  step, state = checkpoints.restore(_state(0))
  assert step == 1
  chex.assert_trees_all_equal(state, _state(1))
  assert "damaged" in caplog.text
  _damage(checkpoints.directory / "1")
  assert checkpoints.restore(_state(0)) is None
