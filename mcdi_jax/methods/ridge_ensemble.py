"""Ridge regression averaged over λ by leave-one-out errors on each task's support."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform
from mcdi_jax.methods.view import VIEWS, Statistics, linear, predict, see, view_variables
from mcdi_jax.networks import ridge_head_loo
from mcdi_jax.tasks import Support


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  del key
  seen = see(variables, support, ways)
  settings = (variables["penalty"], variables["sharpness"])
  return linear(ridge_head_loo(seen.x, seen.member, *settings), seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  for name in ("penalty", "sharpness"):
    variables[name] = jnp.float32(settings[name])
  return Method("ridge_ensemble", adapt, predict, variables, settings)


RIDGE_ENSEMBLE = Tunable(
  "ridge_ensemble",
  make,
  {"penalty": LogUniform(1e-4, 1e3), "sharpness": LogUniform(1.0, 1e3), **VIEWS},
)
