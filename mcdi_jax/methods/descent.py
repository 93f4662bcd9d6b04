"""Gradient descent of all generated weights from θ_0, for any network: n steps of Adam on
the loss of the support, with a rate of its own for each n."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, Shaped

from mcdi_jax.families import TaskFamily
from mcdi_jax.methods.method import Known, Method, Tunable
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support

_SPACE: Space = {"rate": LogUniform(1e-3, 1.0), "epsilon": LogUniform(1e-8, 1e-2)}


def descent(steps: int, space: Space = _SPACE) -> Tunable:
  """`descent_n`; n is static. Its settings: `rate`, `epsilon`, and `decay`, 1 where the
  rate falls to 0 along a cosine, and 0 where it does not or a space has none."""
  return Tunable(f"descent_{steps}", functools.partial(_make, steps), space)


def _make(steps: int, settings: dict[str, Any], known: Known) -> Method:
  told = {"decay": 0, **settings}
  numbers = {name: jnp.float32(value) for name, value in told.items()}
  variables = {"frozen": known.frozen, **numbers}
  functions = _functions(known.family, steps)
  return Method(f"descent_{steps}", *functions, variables, {"steps": steps, **settings})


@functools.cache
def _functions(family: TaskFamily, steps: int) -> tuple[Any, Any]:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    frozen = variables["frozen"]

    def rate(count: Any) -> Array:
      fallen = (1 - jnp.cos(jnp.pi * count / steps)) / 2
      return variables["rate"] * (1 - variables["decay"] * fallen)

    optimiser = optax.adam(rate, eps=variables["epsilon"])

    loss = lambda params: family.support_loss(frozen, params, support)  # noqa: E731

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
      params, state = carry
      updates, state = optimiser.update(jax.grad(loss)(params), state)
      return (optax.apply_updates(params, updates), state), None

    params = family.init(frozen, key, support.x, ways)
    carry = (params, optimiser.init(params))
    (params, _), _ = jax.lax.scan(step, carry, None, length=steps)
    return family.settled(frozen, params, support)

  return adapt, network_outputs(family)


@functools.cache
def network_outputs(family: TaskFamily) -> Any:
  """The `predict` of a method whose result is params."""

  def predict(variables: Any, params: Params, x: Shaped[Array, "m ..."]) -> Array:
    return family.apply(variables["frozen"], params, x)

  return predict
