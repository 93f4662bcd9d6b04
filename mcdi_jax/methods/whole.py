"""Gradient descent of all weights of an encoder, beside that of a few inside it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.families import Adapters
from mcdi_jax.methods.method import Known, Method, Tunable
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support

_SPACE: Space = {"rate": LogUniform(1e-5, 1e-1), "epsilon": LogUniform(1e-8, 1e-2)}


def whole_descent(steps: int) -> Tunable:
  """`whole_descent_n`: n steps of Adam on all weights of the encoder; its head and loss are
  those of `Adapters`, and its statistics stay."""
  return Tunable(f"whole_descent_{steps}", functools.partial(_make, steps), _SPACE)


def _make(steps: int, settings: dict[str, Any], known: Known) -> Method:
  numbers = {name: jnp.float32(value) for name, value in settings.items()}
  variables = {"frozen": known.frozen, **numbers}
  functions = _functions(known.family, steps)
  told = {"steps": steps, **settings}
  return Method(f"whole_descent_{steps}", *functions, variables, told)


@functools.cache
def _functions(family: Adapters, steps: int) -> tuple[Any, Any]:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> dict[str, Params]:
    """The encoder's weights, and settled params that leave them as they are."""
    frozen = variables["frozen"]
    optimiser = optax.adam(variables["rate"], eps=variables["epsilon"])
    unchanged = family.init(frozen, key, support.x, ways)

    def loss(weights: Params) -> Float[Array, ""]:
      return family.support_loss(_with(frozen, weights), unchanged, support)

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
      weights, state = carry
      updates, state = optimiser.update(jax.grad(loss)(weights), state)
      return (optax.apply_updates(weights, updates), state), None

    weights = frozen["network"]["weights"]
    (weights, _), _ = jax.lax.scan(
      step, (weights, optimiser.init(weights)), None, length=steps
    )
    settled = family.settled(_with(frozen, weights), unchanged, support)
    return {"weights": weights, "params": settled}

  def predict(variables: Any, adapted: Any, x: Float[Array, "m h w c"]) -> Array:
    frozen = _with(variables["frozen"], adapted["weights"])
    return family.apply(frozen, adapted["params"], x)

  return adapt, predict


def _with(frozen: Params, weights: Params) -> Params:
  return {**frozen, "network": {**frozen["network"], "weights": weights}}
