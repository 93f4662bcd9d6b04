"""The loop: continued as if never interrupted, logged in full, stopped at what is not
finite."""

from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.loop import train


class State(NamedTuple):
  step: Any
  x: Any


def _start() -> State:
  return State(jnp.int32(0), jnp.zeros(3))


@jax.jit
def _walk(state: State, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
  """A random walk; its loss is the number of the step before it."""
  move = jax.random.normal(jax.random.fold_in(key, state.step), (3,))
  loss = state.step.astype(jnp.float32)
  return State(state.step + 1, 0.9 * state.x + move), {"loss": loss, "twice": 2 * loss}


def _checkpoints(tmp_path: Path) -> Checkpoints:
  return Checkpoints(files.as_path(tmp_path / "checkpoints"))


@pytest.mark.parametrize("stopped", [4, 6])
def test_continued_equals_uninterrupted(tmp_path: Path, key: jax.Array, stopped: int):
  """Bit for bit, from a checkpoint at the last step or some steps before the end."""
  whole = train(_walk, _start(), key, steps=10, title="walk")
  checkpoints = _checkpoints(tmp_path)
  count = []

  def killed(state: State, key: jax.Array) -> Any:
    count.append(int(state.step))
    if len(count) > stopped:
      raise KeyboardInterrupt
    return _walk(state, key)

  keep = {"checkpoints": checkpoints, "save_every": 4}
  with pytest.raises(KeyboardInterrupt):
    train(killed, _start(), key, steps=10, title="walk", **keep)
  assert checkpoints.steps() == [4]
  count.clear()

  def counted(state: State, key: jax.Array) -> Any:
    count.append(int(state.step))
    return _walk(state, key)

  continued = train(counted, _start(), key, steps=10, title="walk", **keep)
  assert count == [4, 5, 6, 7, 8, 9]
  chex.assert_trees_all_equal(continued, whole, strict=True)
  assert checkpoints.steps() == [8, 10]


def test_a_finished_run_takes_no_step(tmp_path: Path, key: jax.Array):
  checkpoints = _checkpoints(tmp_path)
  done = train(_walk, _start(), key, steps=3, title="walk", checkpoints=checkpoints)
  lines = []
  again = train(
    lambda *_: pytest.fail("a step was taken"),
    _start(),
    key,
    steps=3,
    title="walk",
    write=lines.append,
    checkpoints=checkpoints,
  )
  chex.assert_trees_all_equal(again, done)
  assert lines == []


@pytest.mark.parametrize("save_every", [0, 4])
@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_every_metric_is_logged_once(
  tmp_path: Path, key: jax.Array, log_every: int, save_every: int
):
  """Each line is the mean over the steps since the line before, and none is lost."""
  lines = []
  checkpoints = _checkpoints(tmp_path) if save_every else None
  train(
    _walk,
    _start(),
    key,
    steps=10,
    title="walk",
    log_every=log_every,
    write=lines.append,
    checkpoints=checkpoints,
    save_every=save_every,
  )
  ends = [line["step"] for line in lines]
  assert ends == sorted(set(ends))
  assert ends[-1] == 10
  for begin, line in zip([0, *ends], lines, strict=False):
    held = np.arange(begin, line["step"])  # the losses are 0, 1, 2, …
    assert len(held) <= log_every
    assert line["loss"] == held.mean()
    assert line["twice"] == 2 * held.mean()
    assert line["seconds"] >= 0


@jax.jit
def _breaks(state: State, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
  loss = jnp.where(state.step >= 5, jnp.nan, 1.0)
  return State(state.step + 1, state.x + loss), {"loss": loss}


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, key: jax.Array):
  """With the setting to mend in the message, and the last good checkpoint kept."""
  checkpoints = _checkpoints(tmp_path)
  keep = {"checkpoints": checkpoints, "save_every": 2}
  for _ in range(2):  # also when it is tried again
    with pytest.raises(InputError, match="walk: the loss is not finite, or"):
      train(_breaks, _start(), key, steps=10, title="walk", **keep)
    step, state = checkpoints.restore(_start())
    assert step == 4
    assert np.isfinite(state.x).all()


def test_only_a_checkpoint_that_was_written_is_spoken_of(tmp_path: Path, key: jax.Array):
  """And the remedy is the caller's."""

  def message(**settings: Any) -> str:
    with pytest.raises(InputError) as error:
      train(_breaks, _start(), key, steps=10, title="walk", log_every=1, **settings)
    return str(error.value)

  checkpoints = _checkpoints(tmp_path)
  for settings in ({}, {"checkpoints": checkpoints, "save_every": 8}):
    said = message(**settings)
    assert "at step 6: lower the learning rate" in said
    assert "checkpoint" not in said
  said = message(checkpoints=checkpoints, save_every=2, remedy="walk more slowly")
  assert "walk more slowly" in said
  assert "the checkpoint of step 4 is from before" in said
  assert "learning rate" not in said


@pytest.mark.parametrize("value", [1e37, -1e37, 2e18, np.inf, np.nan])
@pytest.mark.parametrize("where", ["loss", "validated first", "validated", "state"])
def test_what_is_finite_and_beyond_measure_stops_too(
  tmp_path: Path, key: jax.Array, value: float, where: str
):
  """Its square overflows; nothing of it is logged or saved."""

  def step(state: State, key: jax.Array) -> Any:
    x = jnp.full(3, value if where == "state" else 1.0)
    return State(state.step + 1, x), {"loss": value if where == "loss" else 1.0}

  def validate(state: State) -> Any:
    due = where == ("validated" if state.step else "validated first")
    return state, {"val": value if due else 1.0}

  lines, checkpoints = [], _checkpoints(tmp_path)
  with pytest.raises(InputError, match="not finite, or beyond 1e.18"):
    train(
      step,
      _start(),
      key,
      steps=2,
      title="walk",
      log_every=1,
      write=lines.append,
      validate=validate,
      checkpoints=checkpoints,
    )
  assert checkpoints.steps() == []
  assert all(abs(number) < 1e18 for line in lines for number in line.values())


def test_large_values_go_on(key: jax.Array):
  step = lambda state, key: (State(state.step + 1, state.x + 1e9), {"loss": 1e17})  # noqa: E731
  state = train(step, _start(), key, steps=2, title="walk")
  np.testing.assert_array_equal(state.x, 2e9)


@jax.jit
def _overflows(state: State, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
  """The loss is that of the state before the update, as in training."""
  x = jnp.where(state.step == 3, jnp.inf, state.x + 1)
  return State(state.step + 1, x), {"loss": state.x.sum()}


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path, key: jax.Array):
  """An update that overflows shows in the loss one step later only: the checkpoint that
  is restored must be one from before it."""
  checkpoints = _checkpoints(tmp_path)
  with pytest.raises(InputError, match="not finite"):
    train(
      _overflows,
      _start(),
      key,
      steps=10,
      title="walk",
      checkpoints=checkpoints,
      save_every=2,
    )
  step, state = checkpoints.restore(_start())
  assert np.isfinite(state.x).all(), f"the state of step {step} is not finite"


def test_validate_is_called_when_due_and_may_update_the_state(
  tmp_path: Path, key: jax.Array
):
  """At the start, every 4 steps and at the end, before the state is saved; its metrics
  are lines of their own."""
  lines, seen = [], []

  def validate(state: State) -> tuple[State, dict[str, jax.Array]]:
    seen.append(int(state.step))
    return state._replace(x=jnp.full(3, 100.0 * state.step)), {"val": state.step}

  checkpoints = _checkpoints(tmp_path)
  state = train(
    _walk,
    _start(),
    key,
    steps=10,
    title="walk",
    write=lines.append,
    validate=validate,
    validate_every=4,
    checkpoints=checkpoints,
    save_every=4,
  )
  assert seen == [0, 4, 8, 10]
  np.testing.assert_array_equal(state.x, 1000.0)
  np.testing.assert_array_equal(checkpoints.restore(_start())[1].x, 1000.0)
  looks = [line for line in lines if "val" in line]
  assert looks == [{"step": s, "val": float(s)} for s in (0, 4, 8, 10)]
