"""The one training loop in Python: everything else about training is a pure function."""

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import Bar

Metrics = dict[str, Any]
# Beyond the root of float32's range a value has no square: norms, squared errors and
# Adam's second moment overflow at the next step, though the value itself is finite.
_LARGEST = 1e18


@runtime_checkable
class State(Protocol):
  """Any pytree that counts its own steps; the step's key is folded from that count."""

  step: Any


S = TypeVar("S", bound=State)


def train(
  step_fn: Callable[[S, jax.Array], tuple[S, Metrics]],
  state: S,
  key: jax.Array,
  *,
  steps: int,
  title: str,
  log_every: int = 50,
  write: Callable[[Metrics], None] = lambda metrics: None,
  validate: Callable[[S], tuple[S, Metrics]] | None = None,
  validate_every: int = 0,
  checkpoints: Checkpoints | None = None,
  save_every: int = 0,
  remedy: str = "lower the learning rate",
) -> S:
  """Runs `step_fn(state, key)` until `state.step == steps`, from the newest checkpoint.

  A fresh state is validated first; then the order within a step is fixed: step, validate,
  save, log. Metrics are averaged over `log_every` steps and fetched in one transfer after
  the next step was dispatched, so that the device never waits for the log.

  Args:
    step_fn: jitted; it folds `state.step` into the key, so a resumed run draws the same.
    validate: looks at (and may update) the state before the first step, every
      `validate_every` steps and at the end; its metrics are written by themselves.
      Validation comes in here.
    remedy: what the error advises when the training has diverged.

  Raises:
    InputError: a metric or the state is not finite, or beyond 1e18.
  """
  if checkpoints and (found := checkpoints.restore(state)):
    state = found[1]
  first, pending = int(state.step), []
  diverged = _Diverged(title, remedy, checkpoints)
  log = _Log(diverged, write)
  with Bar(title, steps) as bar:
    if validate and first == 0:
      state, metrics = validate(state)
      write({"step": 0, **diverged.check(0, _host([metrics]))})
    for step in range(first + 1, steps + 1):
      state, metrics = step_fn(state, key)
      due, pending = (pending, []) if len(pending) >= log_every else ([], pending)
      pending.append(metrics)
      if due:
        log(step - 1, due, bar)
      last = step == steps
      if validate and (last or (validate_every and step % validate_every == 0)):
        state, metrics = validate(state)
        found = diverged.check(step, _host([metrics]))
        write({"step": step, **found})
        bar.note(step, _text(found))
      if checkpoints and (last or (save_every and step % save_every == 0)):
        log(step, pending, bar)
        pending = []
        diverged.check_state(step, state)
        checkpoints.save(step, state)
    if pending:
      log(steps, pending, bar)
  return state


def _host(metrics: list[Metrics]) -> Metrics:
  rows = jax.device_get(metrics)
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _text(metrics: Metrics) -> str:
  return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


@jax.jit
def _within_bounds(leaves: list[Any]) -> jax.Array:
  """Whether all are finite, and at most `_LARGEST`: one program for all leaves."""
  return jnp.array([(abs(x) <= _LARGEST).all() for x in leaves]).all()


class _Diverged:
  """Refuses what is not finite or beyond `_LARGEST`, and says what there is to do."""

  def __init__(self, title: str, remedy: str, checkpoints: Checkpoints | None):
    self._title, self._remedy, self._checkpoints = title, remedy, checkpoints

  def check(self, step: int, metrics: Metrics) -> Metrics:
    for name, value in metrics.items():
      if not abs(value) <= _LARGEST:
        self._stop(name, step)
    return metrics

  def check_state(self, step: int, state: Any) -> None:
    """A metric speaks of the state before the step, so what is saved is looked at
    itself."""
    leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    if not _within_bounds(leaves):
      self._stop("state", step)

  def _stop(self, what: str, step: int) -> None:
    kept = self._checkpoints.steps() if self._checkpoints else []
    whole = f"; the checkpoint of step {kept[-1]} is from before" if kept else ""
    raise InputError(
      f"{self._title}: the {what} is not finite, or beyond {_LARGEST:.0e}, at step {step}: "
      f"{self._remedy} (JAX_DEBUG_NANS=1 finds the operation{whole})"
    )


class _Log:
  """Averages metrics, has them checked, and writes them with the wall seconds since the
  line before."""

  def __init__(self, diverged: _Diverged, write: Callable[[Metrics], None]):
    self._diverged, self._write, self._last = diverged, write, time.monotonic()

  def __call__(self, step: int, metrics: list[Metrics], bar: Bar) -> None:
    if not metrics:
      return
    means = self._diverged.check(step, _host(metrics))
    now = time.monotonic()
    self._write({"step": step, **means, "seconds": now - self._last})
    self._last = now
    bar.update(step, _text(means))
