"""θ_0 by REPTILE on the family's own loss (Nichol et al. 2018): the weights that all tasks
share, and that every optimisation starts from."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.lib.config import check
from mcdi_jax.meta.reptile import pseudo_gradient
from mcdi_jax.meta.training import adam
from mcdi_jax.networks import Params
from mcdi_jax.weights.leaves import part


@dataclasses.dataclass(frozen=True)
class InitialConfig:
  """Training of the θ_0 that all tasks share.

  Attributes:
    steps: outer steps of REPTILE; 0: θ_0 stays as it is drawn.
    tasks: an outer step.
    shots: items a class in each inner step, drawn anew.
    inner_steps: of plain descent within a task.
    inner_rate: of those.
    rate: peak rate of Adam on the pseudo-gradient; it rises for a twentieth of the steps,
      and falls to 0 along a cosine.
    ema: decay of the averaged θ_0, which is the one that is kept.
    save_every: outer steps between checkpoints.
  """

  steps: int = 0
  tasks: int = 5
  shots: int = 1
  inner_steps: int = 8
  inner_rate: float = 0.1
  rate: float = 1e-3
  ema: float = 0.99
  save_every: int = 500

  def __post_init__(self):
    where = "config.initial"
    check(self.steps >= 0, f"{where}.steps", self.steps, "give at least 0; 0 is none")
    for name in ("tasks", "shots", "inner_steps", "save_every"):
      value = getattr(self, name)
      check(value >= 1, f"{where}.{name}", value, "give at least 1")
    for name in ("rate", "inner_rate"):
      value = getattr(self, name)
      check(value > 0, f"{where}.{name}", value, "give a positive rate")
    check(0 <= self.ema < 1, f"{where}.ema", self.ema, "give a decay in [0, 1)")


class InitialState(NamedTuple):
  """init, ema: θ_0 and its running average, as `frozen["init"]` has it."""

  step: Any
  init: Params
  ema: Params
  opt_state: Any


def initial_training(
  family: TaskFamily, config: InitialConfig
) -> tuple[Callable[..., InitialState], Callable[..., Any]]:
  """`init(frozen) → state` and the jitted `step(state, key, frozen, items) → (state,
  metrics)`. Items are embedded. Metrics: the loss on new items of the tasks, `loss` of θ_0
  and `adapted` after all inner steps but one."""
  optimiser = adam(config.rate, steps=config.steps, warmup=0.05, clip=0.0)
  ways = family.largest.ways

  def init(frozen: Params) -> InitialState:
    start = frozen["init"]
    copies = jax.tree.map(jnp.copy, (start, start))
    return InitialState(jnp.int32(0), *copies, optimiser.init(start))

  @jax.jit(donate_argnames="state")
  def step(
    state: InitialState, key: Key[Array, ""], frozen: Params, items: Any
  ) -> tuple[InitialState, dict[str, Array]]:
    k_tasks, k_items = jax.random.split(jax.random.fold_in(key, state.step))
    draw = lambda key: family.draw_task(key, items, ways)  # noqa: E731
    tasks = jax.vmap(draw)(jax.random.split(k_tasks, config.tasks))
    at = {**frozen, "init": state.init}

    def loss(params: Params, task: Any, key: Key[Array, ""]) -> tuple[Array, Array]:
      support = family.support(key, items, task, config.shots)
      return family.support_loss(at, params, support), jnp.zeros(())

    first = jax.tree.map(lambda leaf: leaf[0], tasks)
    x = family.support(k_items, items, first, config.shots).x  # for its shape alone
    params = family.init(at, jax.random.key(0), x, ways)
    inner = {"steps": config.inner_steps, "rate": config.inner_rate}
    gradient, (losses, _) = pseudo_gradient(loss, params, tasks, k_items, **inner)
    updates, opt_state = optimiser.update(part(state.init, gradient), state.opt_state)
    start = optax.apply_updates(state.init, updates)
    ema = optax.incremental_update(start, state.ema, 1 - config.ema)
    each = losses.mean(0)
    metrics = {"loss": each[0], "adapted": each[-1]}
    return InitialState(state.step + 1, start, ema, opt_state), metrics

  return init, step
