"""Ridge regression onto ±1 for each class, in closed form (Bertinetto et al. 2019)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform
from mcdi_jax.methods.view import VIEWS, linear, predict, see, view_variables
from mcdi_jax.tasks import Support


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  """Minimises Σ‖Wᵀx + b − y‖² + λ‖W‖² over the items that count; b is free."""
  del key
  seen = see(variables, support, ways)
  counts = seen.member.sum(1, keepdims=True)
  targets = 2 * seen.member - counts  # ±1; 0 where an item does not count
  number = jnp.maximum(counts.sum(), 1)
  x_mean, y_mean = seen.x.sum(0) / number, targets.sum(0) / number
  kernel = solve(
    counts * (seen.x - x_mean), counts * (targets - y_mean), variables["penalty"]
  )
  return linear({"head": {"kernel": kernel, "bias": y_mean - x_mean @ kernel}}, seen)


def solve(
  x: Float[Array, "n D"], y: Float[Array, "n N"], penalty: Any
) -> Float[Array, "D N"]:
  """(XᵀX + λI)⁻¹ XᵀY = Xᵀ (XXᵀ + λI)⁻¹ Y: the smaller of the two systems."""
  n, width = x.shape
  if n < width:
    return x.T @ jax.scipy.linalg.solve(x @ x.T + penalty * jnp.eye(n), y, assume_a="pos")
  gram = x.T @ x + penalty * jnp.eye(width)
  return jax.scipy.linalg.solve(gram, x.T @ y, assume_a="pos")


def make(settings: dict[str, Any], feature_mean: Float[Array, " D"]) -> Method:
  variables = view_variables(settings, feature_mean)
  variables["penalty"] = jnp.float32(settings["penalty"])
  return Method("ridge", adapt, predict, variables, settings)


RIDGE = Tunable("ridge", make, {"penalty": LogUniform(1e-4, 1e3), **VIEWS})
