"""Ridge regression whose λ is chosen for each task, by a prior and by leave-one-out on its
support, whatever the scale of logits."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.methods.view import VIEWS, Statistics, linear, predict, see, view_variables
from mcdi_jax.networks import ridge_head_loo, ridge_path
from mcdi_jax.tasks import Support

# Of λ: its centre, in units of the support's mean square, and its spread in decades.
PRIOR: Space = {"penalty": LogUniform(1e-1, 1e2), "spread": LogUniform(0.2, 5.0)}


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  del key
  seen = see(variables, support, ways)
  prior = (variables["penalty"], variables["spread"])
  path = ridge_path(seen.x, seen.member, *prior)
  return linear(ridge_head_loo(seen.x, seen.member, path), seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  for name in PRIOR:
    variables[name] = jnp.float32(settings[name])
  return Method("ridge_loo", adapt, predict, variables, settings)


RIDGE_LOO = Tunable("ridge_loo", make, {**PRIOR, **VIEWS})
