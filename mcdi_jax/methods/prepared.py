"""The recipe that the bank's weights were prepared by, run on the support alone."""

import functools
from typing import Any

import jax
import optax
from jaxtyping import Array, Key

from mcdi_jax.lib.keys import key_for
from mcdi_jax.methods.method import Method
from mcdi_jax.methods.view import (
  Statistics,
  cross_entropy,
  linear,
  predict,
  see,
  view_variables,
)
from mcdi_jax.networks import head
from mcdi_jax.preparation import PreparationConfig, trajectory
from mcdi_jax.tasks import Support

_AS_THEY_ARE = {"centre": "source", "unit_length": False}


def prepared(config: PreparationConfig, known: Statistics) -> Method:
  """θ_M from θ_0 with the bank's own settings, `prepare_on` apart: nothing is tuned. Warped
  copies of images are no part of it: there are features only."""
  names = ("steps", "rate", "epsilon", "init_scale", "shared_init", "sam_radius")
  settings = {name: getattr(config, name) for name in names}
  settings["prepare_on"] = "support"
  variables = view_variables(_AS_THEY_ARE, known)
  return Method("prepared", _adapt_for(config), predict, variables, settings)


@functools.cache
def _adapt_for(config: PreparationConfig) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    seen = see(variables, support, ways)
    network = head(support.x.shape[-1], ways, scale=config.init_scale)
    k_init, k_steps = jax.random.split(key)
    if config.shared_init:
      k_init = key_for(config.seed, "shared θ_0")
    path = trajectory(
      cross_entropy,
      network.init(k_init),
      lambda _: seen,
      k_steps,
      optimiser=optax.adam(config.rate, eps=config.epsilon),
      record=(config.steps,),
      sam_radius=config.sam_radius,
    )
    return linear(jax.tree.map(lambda leaf: leaf[-1], path.weights), seen)

  return adapt
