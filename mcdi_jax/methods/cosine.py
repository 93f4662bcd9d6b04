"""The class mean of the nearest direction, in centred features (Wang et al. 2019)."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.view import Statistics, linear, predict, see, view_variables
from mcdi_jax.tasks import Support, class_means


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  """Logits are the cosines of queries and class means."""
  del key
  seen = see(variables, support, ways)
  means = class_means(seen.member, seen.x)
  length = jnp.linalg.norm(means, axis=1, keepdims=True)
  kernel = (means / jnp.maximum(length, 1e-8)).T
  return linear({"head": {"kernel": kernel, "bias": jnp.zeros(ways)}}, seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  view = {"unit_length": True, **settings}
  return Method("cosine", adapt, predict, view_variables(view, known), view)


COSINE = Tunable("cosine", make, {"centre": ("source", "support")})
