"""The meta-training step: tasks, (pseudo-)gradient, optax, average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskSource, draw_tasks
from mcdi_jax.meta.config import Algorithm, MetaConfig
from mcdi_jax.meta.loss import handover_gaps, segment_losses, task_loss
from mcdi_jax.meta.reptile import mean_gradient, pseudo_gradient

Params = Any


class Training(NamedTuple):
  """`init(score params) → state` and the jitted `step(state, key, source) → (state,
  metrics)`; the source's forms of task take turns."""

  init: Callable[..., Any]
  step: Callable[..., Any]


class MetaState(NamedTuple):
  """All that a continued run needs.

  Attributes:
    step: int32 [].
    score, ema: params of the score network, and their running average.
    opt_state: of the outer optimiser.
    best, best_accuracy: the average that did best on the validation tasks, and its
      accuracy in percent there (−1 before the first look).
  """

  step: Any
  score: Params
  ema: Params
  opt_state: Any
  best: Params
  best_accuracy: Any


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


def meta_training(
  generator: Generator, config: MetaConfig, algorithm: Algorithm
) -> Training:
  """The local consistency loss over the tasks of the bank.

  `single_level` takes the gradient at φ itself, averaged over the tasks. The metrics are
  `loss`, `loss_i` of each segment, `gap_i` at each hand-over, `gradient` (its norm).
  """
  count = generator.spec.diffusion.segments

  def gradient_of_form(
    score: Params, key: Key[Array, ""], source: TaskSource, form: Any
  ) -> tuple[Params, dict[str, Array]]:
    k_tasks, k_draws = jax.random.split(key)
    tasks = draw_tasks(
      k_tasks,
      source,
      generator,
      form=form,
      tasks=config.tasks,
      keep_support=config.support == "kept",
    )
    loss = lambda p, task, k: task_loss(p, generator, task, k, draws=config.draws)  # noqa: E731
    if algorithm == "reptile":
      inner = {"steps": config.inner_steps, "rate": config.inner_rate}
      gradient, found = pseudo_gradient(loss, score, tasks, k_draws, **inner)
    else:
      gradient, found = mean_gradient(loss, score, tasks, k_draws)
    losses, (each, segments) = found
    metrics = {"loss": losses.mean(), **segment_losses(each, segments, count)}
    gaps = handover_gaps(generator, tasks.targets, source.form(form).ways)
    return gradient, {**metrics, **gaps}

  return outer_training(gradient_of_form, outer_optimiser(config, algorithm), config.ema)


def outer_training(
  gradient_of_form: Callable[..., tuple[Params, dict[str, Array]]],
  optimiser: optax.GradientTransformation,
  ema: float,
) -> Training:
  """Steps along a gradient that each form of task defines in its way.

  Args:
    gradient_of_form: `(score, key, source, form) → (gradient, metrics)`, where the
      form's number in the source is traced.
    ema: decay of the averaged score network; shorter at first.
  """

  def init(score: Params) -> MetaState:
    copy = jax.tree.map(jnp.copy, (score, score, score))
    return MetaState(
      jnp.int32(0), copy[0], copy[1], optimiser.init(score), copy[2], jnp.float32(-1)
    )

  @jax.jit(donate_argnames="state")
  def step(
    state: MetaState, key: Key[Array, ""], source: TaskSource
  ) -> tuple[MetaState, dict[str, Array]]:
    key = jax.random.fold_in(key, state.step)
    form = state.step % source.first.shape[0]
    gradient, metrics = gradient_of_form(state.score, key, source, form)
    updates, opt_state = optimiser.update(gradient, state.opt_state, state.score)
    score = optax.apply_updates(state.score, updates)
    decay = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(score, state.ema, 1 - decay)
    metrics["gradient"] = optax.tree.norm(gradient)
    fresh = state._replace(
      step=state.step + 1, score=score, ema=average, opt_state=opt_state
    )
    return fresh, metrics

  return Training(init, step)


def selected(state: MetaState, config: MetaConfig) -> Params:
  """The params that generate: chosen on validation tasks, or the last average."""
  return state.best if config.select == "best" else state.ema
