"""Ridge regression onto ±1 for each class, in closed form (Bertinetto et al. 2019). λ is in
units of the support's `mean_square`, so that one λ is right for features of any size."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform
from mcdi_jax.methods.view import VIEWS, Statistics, linear, predict, see, view_variables
from mcdi_jax.networks import mean_square, ridge_head
from mcdi_jax.tasks import Support


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  del key
  seen = see(variables, support, ways)
  penalty = variables["penalty"] * mean_square(seen.x, seen.member)
  return linear(ridge_head(seen.x, seen.member, penalty), seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  variables["penalty"] = jnp.float32(settings["penalty"])
  return Method("ridge", adapt, predict, variables, settings)


RIDGE = Tunable("ridge", make, {"penalty": LogUniform(1e-3, 1e3), **VIEWS})
