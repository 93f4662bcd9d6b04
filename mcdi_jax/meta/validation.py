"""The validation tasks during meta-training."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.lib.keys import key_of_pass
from mcdi_jax.lib.over_tasks import over_tasks
from mcdi_jax.meta.training import MetaState
from mcdi_jax.tasks import Form, Protocol

_BATCH = 100


def validation(
  protocols: list[Protocol],
  key: Key[Array, ""],
  *,
  tasks: int,
  temperature: float = 0.0,
  passes: int = 1,
) -> Callable[[MetaState, Generator, Any], tuple[MetaState, dict[str, Array]]]:
  """`validate(state, generator, items)`: how good the weights are that the averaged
  generator makes at this τ, in the unit of the family's metric, such as accuracy in
  percent, always on the same validation tasks; and the rms of their tokens, where that of
  all k targets together is 1. Keeps the best average in the state. It is compiled once for
  all protocols, which differ in ways and shots. Of several passes, as `compose.iterate`
  makes them, it is the last's quality and the first's rms."""
  largest = Protocol(*(max(sizes) for sizes in zip(*protocols, strict=True)))
  forms = Form(*(jnp.asarray([p[field] for p in protocols]) for field in (0, 1)))
  of_task = functools.partial(
    _of_task, largest=largest, temperature=temperature, passes=passes
  )

  @jax.jit
  def validate(
    state: MetaState, generator: Generator, items: Any
  ) -> tuple[MetaState, dict[str, Any]]:
    current = dataclasses.replace(generator, score=state.ema)
    scale = generator.spec.family.metric.scale

    def of_form(form_and_key: tuple[Form, Key[Array, ""]]) -> tuple[Array, Array]:
      form, key = form_and_key
      keys = jax.random.split(key, tasks)
      each = lambda k: of_task(current, items, form, k)  # noqa: E731
      in_turn = generator.spec.family.one_by_one
      quality, rms = over_tasks(each, keys, most=_BATCH, one_by_one=in_turn)
      return scale * quality.mean(), rms.mean()

    keys = jax.random.split(key, len(protocols))
    qualities, norms = jax.lax.map(of_form, (forms, keys))
    metrics = {}
    for n, protocol in enumerate(protocols):
      name = f"{protocol.ways}w{protocol.shots}s"
      metrics |= {f"val_{name}": qualities[n], f"norm_{name}": norms[n]}
    mean = qualities.mean()
    better = mean > state.best_quality
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.ema, state.best)
    state = state._replace(best=best, best_quality=jnp.maximum(mean, state.best_quality))
    return state, metrics

  return validate


def _of_task(
  generator: Generator,
  items: Any,
  form: Form,
  key: Key[Array, ""],
  *,
  largest: Protocol,
  temperature: float,
  passes: int,
) -> tuple[Array, Array]:
  """Of one task: the quality of the last pass, and the rms of the first's tokens."""
  family = generator.spec.family
  k_task, k_sample = jax.random.split(key)
  task = family.sample(k_task, items, largest, form=form)
  if not temperature:  # the chain's noise would depend on the dimensions
    task = family.compact(task)
  support, query = task
  generator = generator.of_items(support.x.shape[1:])
  condition = generator.condition(support, largest.ways)
  tokens, _ = generator.sample(condition, k_sample, temperature=temperature)
  params = generator.decode(tokens, condition, support)
  settings = {"temperature": temperature, "ways": largest.ways}
  for n in range(1, passes):
    own = key_of_pass(k_sample, n)
    params = generator.sampled_from(params, support, own, **settings)
  quality = family.quality(family.apply(generator.frozen, params, query.x), query)
  rms = generator.space.leaf_rms(tokens, condition.present)
  return quality, jnp.mean(rms)
