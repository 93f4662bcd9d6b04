"""A look at the validation tasks during meta-training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Generator, by_class
from mcdi_jax.meta.training import MetaState
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Protocol, sample_task

_BATCH = 100


def validation(
  generator: Generator,
  protocols: list[Protocol],
  key: Key[Array, ""],
  *,
  tasks: int,
) -> Callable[[MetaState, ClassSet], tuple[MetaState, dict[str, Array]]]:
  """`look(state, features)`: the accuracy in percent of the weights that the averaged
  generator makes at τ = 0 for the validation classes, always on the same tasks, and the
  rms of their tokens, where that of all k targets together is 1. Keeps the best average
  in the state."""

  def one(
    generator: Generator, features: ClassSet, protocol: Protocol, key: Key[Array, ""]
  ) -> tuple[Array, Array]:
    k_task, k_sample = jax.random.split(key)
    task = sample_task(k_task, features, protocol)
    shots = by_class(task.support, protocol.ways)
    tokens, _ = generator.sample(shots, k_sample, temperature=0.0)
    params = generator.space.decode(tokens, generator.base(shots))
    right = apply_head(params, task.query.x).argmax(-1) == task.query.y
    return jnp.mean(right), jnp.mean(generator.space.leaf_rms(tokens))

  @jax.jit
  def look(state: MetaState, features: ClassSet) -> tuple[MetaState, dict[str, Any]]:
    current = dataclasses.replace(generator, score=state.ema)
    metrics, accuracies = {}, []
    for protocol in protocols:
      found = jax.lax.map(
        lambda k, p=protocol: one(current, features, p, k),
        jax.random.split(key, tasks),
        batch_size=min(_BATCH, tasks),
      )
      accuracy, rms = (100 * found[0].mean(), found[1].mean())
      name = f"{protocol.ways}w{protocol.shots}s"
      metrics |= {f"val_{name}": accuracy, f"norm_{name}": rms}
      accuracies.append(accuracy)
    mean = jnp.stack(accuracies).mean()
    better = mean > state.best_accuracy
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.ema, state.best)
    state = state._replace(best=best, best_accuracy=jnp.maximum(mean, state.best_accuracy))
    return state, metrics

  return look
