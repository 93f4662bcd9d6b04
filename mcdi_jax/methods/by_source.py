"""One adapter for each known source of documents; of these, the support chooses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.families import DocumentItems, Documents
from mcdi_jax.methods.descent import network_outputs
from mcdi_jax.methods.method import Known, Method
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Protocol, Support

_STEPS, _DOCUMENTS = 60, 4  # of Adam, and documents a step


def source_adapters(
  known: Known, items: DocumentItems, form: Protocol, key: Key[Array, ""], *, rate: float
) -> Params:
  """An adapter for each source, trained on parts of its documents, drawn anew each step;
  leaves with a leading axis of the sources in rising order.

  Args:
    form: how many windows a part has.
    rate: of Adam, which falls to 0 along a cosine.
  """
  number = np.unique(items.source)
  train = _training(known.family, form, rate)
  return train(known.frozen, items, number, jax.random.split(key, len(number)))


def best_of_sources(known: Known, adapters: Params) -> Method:
  """A task is given the one of `source_adapters` under which its support's loss is
  least."""
  variables = {"frozen": known.frozen, "adapters": adapters}
  told = {"sources": len(jax.tree.leaves(adapters)[0]), "steps": _STEPS}
  functions = (_adapt_for(known.family), network_outputs(known.family))
  return Method("best_of_sources", *functions, variables, told)


def _training(family: Documents, form: Protocol, rate: float) -> Any:
  optimiser = optax.adam(optax.cosine_decay_schedule(rate, _STEPS))

  def one(frozen: Params, items: DocumentItems, source: Array, key: Array) -> Params:
    odds = jnp.where(items.source == source, 0.0, -jnp.inf)

    def loss(params: Params, task: Array, key: Array) -> Float[Array, ""]:
      support, query = family.examples(key, items, task, form)
      x, y = (jnp.concatenate(parts) for parts in zip(support[:2], query[:2], strict=True))
      return family.loss(family.apply(frozen, params, x), y).mean()

    def step(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], None]:
      params, state = carry
      k_tasks, k_parts = jax.random.split(key)
      tasks = jax.random.categorical(k_tasks, odds, shape=(_DOCUMENTS,))
      parts = tasks, jax.random.split(k_parts, _DOCUMENTS)
      gradients = jax.lax.map(lambda part: jax.grad(loss)(params, *part), parts)
      mean = jax.tree.map(lambda leaf: leaf.mean(0), gradients)
      updates, state = optimiser.update(mean, state)
      return (optax.apply_updates(params, updates), state), None

    start = frozen["init"]
    carry = (start, optimiser.init(start))
    (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key, _STEPS))
    return params

  @jax.jit
  def train(frozen: Params, items: DocumentItems, sources: Array, keys: Array) -> Params:
    return jax.lax.map(lambda both: one(frozen, items, *both), (sources, keys))

  return train


@functools.cache
def _adapt_for(family: Documents) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    frozen, adapters = variables["frozen"], variables["adapters"]

    loss = lambda params: family.support_loss(frozen, params, support)  # noqa: E731
    best = jnp.argmin(jax.lax.map(loss, adapters))
    return jax.tree.map(lambda leaf: leaf[best], adapters)

  return adapt
