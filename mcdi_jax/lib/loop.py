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
  inspect: Callable[[S], tuple[S, Metrics]] | None = None,
  inspect_every: int = 0,
  checkpoints: Checkpoints | None = None,
  save_every: int = 0,
) -> S:
  """Runs `step_fn(state, key)` until `state.step == steps`, from the newest checkpoint.

  A fresh state is inspected first; then the order within a step is fixed: step, inspect,
  save, log. Metrics are averaged over `log_every` steps and fetched in one transfer after
  the next step was dispatched, so that the device never waits for the log.

  Args:
    step_fn: jitted; it folds `state.step` into the key, so a resumed run draws the same.
    inspect: looks at (and may update) the state before the first step, every
      `inspect_every` steps and at the end; its metrics are written by themselves.
      Validation comes in here.

  Raises:
    InputError: a metric that is not finite; the last good checkpoint is kept.
  """
  if checkpoints and (found := checkpoints.restore(state)):
    state = found[1]
  first, pending = int(state.step), []
  log = _Log(title, write)
  with Bar(title, steps) as bar:
    if inspect and first == 0:
      state, seen = inspect(state)
      write({"step": 0, **_host([seen])})
    for step in range(first + 1, steps + 1):
      state, metrics = step_fn(state, key)
      due, pending = (pending, []) if len(pending) >= log_every else ([], pending)
      pending.append(metrics)
      if due:
        log(step - 1, due, bar)
      last = step == steps
      if inspect and (last or (inspect_every and step % inspect_every == 0)):
        state, seen = inspect(state)
        found = _host([seen])
        write({"step": step, **found})
        bar.note(step, _text(found))
      if checkpoints and (last or (save_every and step % save_every == 0)):
        log(step, pending, bar)
        pending = []
        _check_finite(state, title, step)
        checkpoints.save(step, state)
    if pending:
      log(steps, pending, bar)
  return state


def _check_finite(state: Any, title: str, step: int) -> None:
  """A metric speaks of the state before the step, so what is saved is looked at itself."""
  leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
  if not all(bool(jnp.isfinite(x).all()) for x in leaves):
    raise InputError(_not_finite(title, "state", step))


def _not_finite(title: str, what: str, step: int) -> str:
  return (
    f"{title}: the {what} is not finite at step {step}: lower the learning rate, or run "
    "with JAX_DEBUG_NANS=1 to find the cause (the last good checkpoint is kept)"
  )


def _host(metrics: list[Metrics]) -> Metrics:
  rows = jax.device_get(metrics)
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _text(metrics: Metrics) -> str:
  return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class _Log:
  """Averages metrics, refuses what is not finite, and writes them with the wall
  seconds since the line before."""

  def __init__(self, title: str, write: Callable[[Metrics], None]):
    self._title, self._write, self._last = title, write, time.monotonic()

  def __call__(self, step: int, metrics: list[Metrics], bar: Bar) -> None:
    if not metrics:
      return
    means = _host(metrics)
    wrong = [name for name, value in means.items() if not np.isfinite(value)]
    if wrong:
      raise InputError(_not_finite(self._title, wrong[-1], step))
    now = time.monotonic()
    self._write({"step": step, **means, "seconds": now - self._last})
    self._last = now
    bar.update(step, _text(means))
