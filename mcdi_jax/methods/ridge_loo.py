"""Ridge regression whose λ is chosen for each task, by leave-one-out on its support."""

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
  return linear(ridge_head_loo(seen.x, seen.member, variables["penalty"]), seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  variables["penalty"] = jnp.float32(settings["penalty"])
  return Method("ridge_loo", adapt, predict, variables, settings)


RIDGE_LOO = Tunable("ridge_loo", make, {"penalty": LogUniform(1e-4, 1e3), **VIEWS})
