"""The meta-training step: (pseudo-)gradient of a batch of tasks, optax, average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskBatch, TaskSource, draw_tasks
from mcdi_jax.meta.config import Algorithm, MetaConfig
from mcdi_jax.meta.loss import handover_gaps, segment_losses, task_loss
from mcdi_jax.meta.reptile import mean_gradient, pseudo_gradient
from mcdi_jax.networks import Params

_WORST = -1e9


class Training(NamedTuple):
  """Three functions, of which a loop is made.

  Attributes:
    init: `init(score params) → state`.
    draw: `draw(source, generator, key, step) → batch`, jitted; key is folded with the
      step, and the source's forms of task take turns.
    step: `step(state, generator, batch, key) → (state, metrics)`, jitted; the generator's
      own score network has no part in it. The same key as for `draw`.
  """

  init: Callable[..., Any]
  draw: Callable[..., Any]
  step: Callable[..., Any]


class MetaState(NamedTuple):
  """All that a continued run needs.

  Attributes:
    step: int32 [].
    score, ema: params of the score network, and their running average.
    opt_state: of the outer optimiser.
    best, best_quality: the average that did best on the validation tasks, and how well, in
      the unit of the family's metric (−1e9 before the first time).
  """

  step: Any
  score: Params
  ema: Params
  opt_state: Any
  best: Params
  best_quality: Any


def adam(
  rate: float, *, steps: int, warmup: float, clip: float
) -> optax.GradientTransformation:
  """Adam whose rate rises, then falls to 0 along a cosine, on a clipped gradient."""
  schedule = optax.warmup_cosine_decay_schedule(0.0, rate, int(warmup * steps), steps)
  return optax.chain(clipping(clip), optax.adam(schedule))


def clipping(norm: float) -> optax.GradientTransformation:
  """To a global norm; 0 is off."""
  return optax.clip_by_global_norm(norm) if norm else optax.identity()


def outer_optimiser(
  config: MetaConfig, algorithm: Algorithm
) -> optax.GradientTransformation:
  if config.optimiser == "sgd":
    sgd = optax.sgd(config.rate * config.inner_steps * config.inner_rate)
    return optax.chain(clipping(config.clip), sgd)
  steps = config.loop_steps(algorithm, config.steps)
  return adam(config.rate, steps=steps, warmup=config.warmup, clip=config.clip)


def meta_training(config: MetaConfig, algorithm: Algorithm) -> Training:
  """The local consistency loss over the tasks of the bank.

  `single_level` takes the gradient at φ itself, averaged over the tasks. The metrics are
  `loss`, `loss_i` of each segment, `gap_i` at each hand-over, `gradient` (its norm).
  """

  def draw(
    key: Key[Array, ""], source: TaskSource, generator: Generator, form: Any
  ) -> TaskBatch:
    k_tasks, _ = jax.random.split(key)
    keep_support = config.support == "kept"
    number = {"tasks": config.tasks, "keep_support": keep_support}
    return draw_tasks(k_tasks, source, generator, form=form, **number)

  def gradient(
    score: Params, generator: Generator, batch: TaskBatch, key: Key[Array, ""]
  ) -> tuple[Params, dict[str, Array]]:
    _, k_draws = jax.random.split(key)
    settings = {"draws": config.draws, "drop": config.drop_condition}
    loss = lambda p, task, k: task_loss(p, generator, task, k, **settings)  # noqa: E731
    if algorithm == "reptile":
      inner = {"steps": config.inner_steps, "rate": config.inner_rate}
      found, adapted = pseudo_gradient(loss, score, batch, k_draws, **inner)
    else:
      found, adapted = mean_gradient(loss, score, batch, k_draws)
    losses, (each, segments) = adapted
    count = generator.spec.diffusion.segments
    metrics = {"loss": losses.mean(), **segment_losses(each, segments, count)}
    return found, metrics | handover_gaps(generator, batch)

  optimiser = outer_optimiser(config, algorithm)
  return outer_training(draw, gradient, optimiser, config.ema)


def outer_training(
  draw: Callable[..., Any],
  gradient: Callable[..., tuple[Params, dict[str, Array]]],
  optimiser: optax.GradientTransformation,
  ema: float,
) -> Training:
  """Steps along a gradient.

  Args:
    draw: `(key, source, generator, form) → batch`, where the form's number in the source
      is traced.
    gradient: `(score, generator, batch, key) → (gradient, metrics)`.
    ema: decay of the averaged score network; shorter at first.
  """

  def init(score: Params) -> MetaState:
    copy = jax.tree.map(jnp.copy, (score, score, score))
    return MetaState(
      jnp.int32(0), copy[0], copy[1], optimiser.init(score), copy[2], jnp.float32(_WORST)
    )

  @jax.jit
  def draw_batch(
    source: TaskSource, generator: Generator, key: Key[Array, ""], step: Array
  ) -> Any:
    form = step % source.first.shape[0]
    return draw(jax.random.fold_in(key, step), source, generator, form)

  @jax.jit(donate_argnames="state")
  def step(
    state: MetaState, generator: Generator, batch: Any, key: Key[Array, ""]
  ) -> tuple[MetaState, dict[str, Array]]:
    key = jax.random.fold_in(key, state.step)
    found, metrics = gradient(state.score, generator, batch, key)
    updates, opt_state = optimiser.update(found, state.opt_state, state.score)
    score = optax.apply_updates(state.score, updates)
    decay = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(score, state.ema, 1 - decay)
    metrics["gradient"] = optax.tree.norm(found)
    fresh = state._replace(
      step=state.step + 1, score=score, ema=average, opt_state=opt_state
    )
    return fresh, metrics

  return Training(init, draw_batch, step)


def selected(state: MetaState, config: MetaConfig) -> Params:
  """The params that generate: chosen on validation tasks, or the last average."""
  return state.best if config.select == "best" else state.ema
