"""Nearest class mean in the metric of the spread within the training classes: a linear
discriminant whose covariance is the source's."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform
from mcdi_jax.methods.view import Statistics, linear, predict, see, view_variables
from mcdi_jax.tasks import Support, class_means


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  """Logits −½ (x − μ_c)ᵀ (Σ + fI)⁻¹ (x − μ_c) up to a constant, f relative to the mean
  variance."""
  del key
  seen = see(variables, support, ways)
  means = class_means(seen.member, seen.x)
  directions, variances = variables["within"]
  damped = variances / variances.mean() + variables["floor"]
  kernel = directions @ ((means @ directions) / damped).T
  bias = -0.5 * jnp.sum(means.T * kernel, axis=0)
  return linear({"head": {"kernel": kernel, "bias": bias}}, seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  view = {"unit_length": True, **settings}
  variables = view_variables(view, known)
  within = (known.within or {})[settings["centre"]]
  variables |= {"within": within, "floor": jnp.float32(settings["floor"])}
  return Method("prototypes_whitened", adapt, predict, variables, view)


PROTOTYPES_WHITENED = Tunable(
  "prototypes_whitened",
  make,
  {"floor": LogUniform(1e-2, 1e2), "centre": ("none", "source")},
)
