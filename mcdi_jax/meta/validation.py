"""The validation tasks during meta-training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Generator
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
  """`validate(state, features)`: the accuracy in percent of the weights that the averaged
  generator makes at τ = 0 for the validation classes, always on the same tasks, and the
  rms of their tokens, where that of all k targets together is 1. Keeps the best average
  in the state. It is compiled once for all protocols, which differ in ways and shots."""
  largest = Protocol(*(max(sizes) for sizes in zip(*protocols, strict=True)))
  forms = [jnp.asarray([p[field] for p in protocols]) for field in (0, 1)]

  def one(
    generator: Generator, features: ClassSet, form: tuple[Any, Any], key: Key[Array, ""]
  ) -> tuple[Array, Array]:
    k_task, k_sample = jax.random.split(key)
    support, query = sample_task(k_task, features, largest, form=form)
    condition = generator.condition(support, largest.ways)
    tokens, _ = generator.sample(condition, k_sample, temperature=0.0)
    params = generator.decode(tokens, condition)
    right = apply_head(params, query.x).argmax(-1) == query.y
    rms = generator.space.leaf_rms(tokens, condition.present)
    return jnp.mean(right, where=query.mask), jnp.mean(rms)

  @jax.jit
  def validate(state: MetaState, features: ClassSet) -> tuple[MetaState, dict[str, Any]]:
    current = dataclasses.replace(generator, score=state.ema)

    def of_form(form_and_key: tuple[Any, Key[Array, ""]]) -> tuple[Array, Array]:
      form, key = form_and_key
      keys = jax.random.split(key, tasks)
      each = lambda k: one(current, features, form, k)  # noqa: E731
      right, rms = jax.lax.map(each, keys, batch_size=min(_BATCH, tasks))
      return 100 * right.mean(), rms.mean()

    keys = jax.random.split(key, len(protocols))
    accuracies, norms = jax.lax.map(of_form, (tuple(forms), keys))
    metrics = {}
    for n, protocol in enumerate(protocols):
      name = f"{protocol.ways}w{protocol.shots}s"
      metrics |= {f"val_{name}": accuracies[n], f"norm_{name}": norms[n]}
    mean = accuracies.mean()
    better = mean > state.best_accuracy
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.ema, state.best)
    state = state._replace(best=best, best_accuracy=jnp.maximum(mean, state.best_accuracy))
    return state, metrics

  return validate
