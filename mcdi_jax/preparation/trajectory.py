"""The trajectory of one optimisation, at its k local targets (`method.md` 1, 2)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.networks import Params


class Trajectory(NamedTuple):
  """weights: params with a leading axis k: θ_d, θ_2d, …, θ_kd = θ_M. losses: [k], of each
  on what the next step would descend on."""

  weights: Any
  losses: Any


def trajectory(
  loss: Callable[[Params, Any], Any],
  params: Params,
  draw: Callable[[Key[Array, ""]], Any],
  key: Key[Array, ""],
  *,
  optimiser: optax.GradientTransformation,
  record: tuple[int, ...],
  sam_radius: float = 0.0,
) -> Trajectory:
  """Descends `loss(params, draw(key_m))` from θ_0 = `params` for `record[-1]` steps. The
  result has no reverse-mode derivative: its loops are of a length that is not static.

  Args:
    record: the steps after which the weights are kept, rising.
    sam_radius: ρ of sharpness-aware minimisation (Foret et al. 2021): the gradient is
      taken at θ + ρ ∇L/‖∇L‖; 0 is the plain gradient.
  """
  gradient = jax.grad(loss)

  def step(m, carry):
    params, state = carry
    batch = draw(jax.random.fold_in(key, m))
    g = gradient(params, batch)
    if sam_radius:
      reach = sam_radius / (optax.tree.norm(g) + 1e-12)
      g = gradient(jax.tree.map(lambda p, d: p + reach * d, params, g), batch)
    updates, state = optimiser.update(g, state, params)
    return optax.apply_updates(params, updates), state

  def to_next_target(carry, first_and_last):
    """A loop in a loop, so that the gradient is compiled once, not for each target."""
    first, last = first_and_last
    carry = jax.lax.fori_loop(first, last, step, carry)
    return carry, Trajectory(carry[0], loss(carry[0], draw(jax.random.fold_in(key, last))))

  last = jnp.array(record)
  first = jnp.array((0, *record[:-1]))
  return jax.lax.scan(to_next_target, (params, optimiser.init(params)), (first, last))[1]
