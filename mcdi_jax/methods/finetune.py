"""Gradient fine-tuning of the head on the support: what generation is to replace."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.methods.view import (
  VIEWS,
  Statistics,
  cross_entropy,
  linear,
  predict,
  see,
  view_variables,
  zero_head,
)
from mcdi_jax.tasks import Support

# init_scale: of the Gaussian θ_0; 0: zeros. epsilon: Adam's, in the denominator √v + ε.
# decay: decoupled from the gradient with both optimisers.
_SPACE: Space = {
  "init_scale": (0.0, 0.01, 0.1),
  "steps": (5, 10, 20, 50, 100),
  "decay": (0.0, 0.001, 0.01, 0.1),
  **VIEWS,
}


def _descend(
  optimiser: optax.GradientTransformation,
  variables: dict[str, Any],
  support: Support,
  key: Key[Array, ""],
  ways: int,
) -> Any:
  """Descends the mean cross-entropy of the whole support."""
  seen = see(variables, support, ways)
  params = zero_head(seen)
  luck = jax.random.normal(key, params["head"]["kernel"].shape)
  params["head"]["kernel"] = variables["init_scale"] * luck
  gradient = jax.grad(lambda params: cross_entropy(params, seen))

  def step(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
    params, state = carry
    updates, state = optimiser.update(gradient(params), state, params)
    return optax.apply_updates(params, updates), state

  carry = (params, optimiser.init(params))
  params, _ = jax.lax.fori_loop(0, variables["steps"], step, carry)
  return linear(params, seen)


def adapt_adamw(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  rate, epsilon = variables["rate"], variables["epsilon"]
  optimiser = optax.adamw(rate, eps=epsilon, weight_decay=variables["decay"])
  return _descend(optimiser, variables, support, key, ways)


def adapt_sgd(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  decay = optax.add_decayed_weights(variables["decay"])
  optimiser = optax.chain(decay, optax.sgd(variables["rate"]))
  return _descend(optimiser, variables, support, key, ways)


def _variables(settings: dict[str, Any], known: Statistics) -> dict[str, Any]:
  numbers = {n: jnp.asarray(v) for n, v in settings.items() if n not in VIEWS}
  return {**numbers, **view_variables(settings, known)}


def make_adamw(settings: dict[str, Any], known: Statistics) -> Method:
  variables = _variables(settings, known)
  return Method(
    "finetune", adapt_adamw, predict, variables, {"optimiser": "adamw", **settings}
  )


def make_sgd(settings: dict[str, Any], known: Statistics) -> Method:
  variables = _variables(settings, known)
  return Method(
    "finetune_sgd", adapt_sgd, predict, variables, {"optimiser": "sgd", **settings}
  )


FINETUNE = Tunable(
  "finetune",
  make_adamw,
  {"rate": LogUniform(1e-3, 10.0), "epsilon": LogUniform(1e-8, 1.0), **_SPACE},
)
FINETUNE_SGD = Tunable("finetune_sgd", make_sgd, {"rate": LogUniform(0.1, 100.0), **_SPACE})
