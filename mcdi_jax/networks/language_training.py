"""Training of all weights of a language model on documents."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from mcdi_jax.networks.llama import LlamaConfig, logits
from mcdi_jax.networks.network import Params


class LanguageState(NamedTuple):
  """step: int32 []. params, opt_state: of the model and of its optimiser."""

  step: Any
  params: Params
  opt_state: Any


def language_training(
  config: LlamaConfig, *, steps: int, rate: float, batch: int, length: int, first: int
) -> tuple[Callable[..., LanguageState], Callable[..., Any]]:
  """`init(params) → state` and the jitted `step(state, key, ids [n, t], tokens [n]) →
  (state, metrics)`: Adam on the mean loss of all tokens, its rate rising and then falling
  to 0 along a cosine. Of row i of ids the first `tokens[i]` are there.

  Args:
    batch: runs of tokens a step, each from a place of its own in a document.
    length: tokens of a run.
    first: the token that begins a text.
  """
  schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps)
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

  def init(params: Params) -> LanguageState:
    own = jax.tree.map(jnp.copy, params)
    return LanguageState(jnp.int32(0), own, optimiser.init(own))

  @jax.jit(donate_argnames="state")
  def step(
    state: LanguageState,
    key: Key[Array, ""],
    ids: Int[Array, "n t"],
    tokens: Int[Array, " n"],
  ) -> tuple[LanguageState, dict[str, Array]]:
    k_row, k_place = jax.random.split(jax.random.fold_in(key, state.step))
    row = jax.random.randint(k_row, (batch,), 0, len(ids))
    start = jax.random.randint(k_place, (batch,), 0, tokens[row] - length + 1)[:, None]
    y = jnp.take_along_axis(ids[row], start + jnp.arange(length), 1)
    x = jnp.concatenate([jnp.full((batch, 1), first), y[:, :-1]], 1)

    def loss(params: Params) -> Array:
      found = logits(config, params, x)
      return optax.softmax_cross_entropy_with_integer_labels(found, y).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    updates, opt_state = optimiser.update(gradient, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    return LanguageState(state.step + 1, params, opt_state), {"loss": value}

  return init, step
