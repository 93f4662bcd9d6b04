"""Nearest class mean in feature space (Snell et al. 2017)."""

from typing import Any

from jaxtyping import Array, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.view import VIEWS, Statistics, linear, predict, see, view_variables
from mcdi_jax.networks import prototype_head
from mcdi_jax.tasks import Support, class_means


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  """Logits −½‖x − μ_c‖² up to a constant."""
  del key
  seen = see(variables, support, ways)
  means = class_means(seen.member, seen.x)
  return linear(prototype_head(means), seen)


def make(settings: dict[str, Any], known: Statistics) -> Method:
  return Method("prototypes", adapt, predict, view_variables(settings, known), settings)


PROTOTYPES = Tunable("prototypes", make, VIEWS)
