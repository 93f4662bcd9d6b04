"""The loss of one task: mean over draws of (i, t, ε) of the squared residual."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mcdi_jax.diffusion import OBJECTIVES
from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskBatch


def task_loss(
  score: Any,
  generator: Generator,
  task: TaskBatch,
  key: Key[Array, ""],
  *,
  draws: int,
  drop: float = 0.0,
) -> tuple[Float[Array, ""], tuple[Float[Array, " d"], Int[Array, " d"]]]:
  """Of the score network's params `score`, for one task.

  Args:
    draws: of (i, t, ε).
    drop: share of them without a condition; static.

  Returns:
    The mean loss, and beside it the loss and the segment of each draw.
  """
  generator = dataclasses.replace(generator, score=score)
  diffusion = generator.spec.diffusion
  objective = OBJECTIVES[diffusion.objective, diffusion.form]
  draw = objective.draw
  if diffusion.objective == "windowed":
    draw = functools.partial(draw, handover=diffusion.handover)
  chain, condition = generator.chain(), generator.conditioned(task.given)
  free = generator.space.free_weights(condition.present.sum())

  def one(key: Key[Array, ""]) -> tuple[Array, Array]:
    draw_noise = lambda k: generator.draw_noise(k, condition.present)  # noqa: E731
    example = draw(key, task.targets, chain, draw_noise)
    known = condition
    if drop:
      k_drop = jax.random.fold_in(key, 3)  # the draw splits it in three
      known = condition.dropped(jax.random.bernoulli(k_drop, drop))
    output = generator.predict(known, example.x, example.t)
    residual = objective.residual(output, example, chain, objective.form)
    # What is no weight, such as the rows of absent classes, is 0 in both.
    return jnp.sum(residual**2) / free, chain.segment[example.t]

  losses, segments = jax.vmap(one)(jax.random.split(key, draws))
  return losses.mean(), (losses, segments)


def segment_losses(
  losses: Float[Array, "*n"], segments: Int[Array, "*n"], count: int
) -> dict[str, Array]:
  """`loss_1` … `loss_k`: the mean over the draws whose t lies in each segment (0 where
  none does)."""
  found = {}
  for i in range(count):
    held = segments == i
    mean = jnp.sum(jnp.where(held, losses, 0.0)) / jnp.maximum(held.sum(), 1)
    found[f"loss_{i + 1}"] = mean
  return found


def handover_gaps(generator: Generator, tasks: TaskBatch) -> dict[str, Array]:
  """`gap_1` … `gap_{k−1}`: √ᾱ^{i+1} ‖θ_{id} − θ_{(i+1)d}‖ / √((1−ᾱ^{i+1}) dim) at b_i,
  rms over tasks: how far, in units of the noise, segment i+1 starts from where it was
  trained (`method.md` 3.4). One segment hands nothing over."""
  if generator.spec.diffusion.segments == 1:
    return {}
  shift = generator.chain().handover_shift()
  dim = generator.space.free_weights(tasks.ways)
  bend = jnp.sum(jnp.diff(tasks.targets, axis=1) ** 2, (2, 3)) / dim[:, None]
  gaps = shift[1:] * jnp.sqrt(bend.mean(0))
  return {f"gap_{i + 1}": gap for i, gap in enumerate(gaps)}
