"""Ridge regression averaged over the posterior of λ: a prior, and leave-one-out on each
task's support."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.ridge_loo import PRIOR
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.methods.view import VIEWS, Statistics, linear, predict, see, view_variables
from mcdi_jax.networks import ridge_head_averaged, ridge_path
from mcdi_jax.tasks import Support

_SPACE: Space = {**PRIOR, "trust": LogUniform(0.1, 10.0)}


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  del key
  seen = see(variables, support, ways)
  path = ridge_path(seen.x, seen.member, variables["penalty"], variables["spread"])
  found = ridge_head_averaged(seen.x, seen.member, path, variables["trust"])
  return linear(found, seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  for name in _SPACE:
    variables[name] = jnp.float32(settings[name])
  return Method("ridge_ensemble", adapt, predict, variables, settings)


RIDGE_ENSEMBLE = Tunable("ridge_ensemble", make, {**_SPACE, **VIEWS})
