"""An encoder that normalises with the statistics of the support, in part (AdaBN, Li et al.
2017): what adapts it to a domain without any training."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.families import Adapters
from mcdi_jax.methods.descent import network_outputs
from mcdi_jax.methods.method import Known, Method, Tunable
from mcdi_jax.methods.space import Space
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support

_SPACE: Space = {"share": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)}


def _make(settings: dict[str, Any], known: Known) -> Method:
  variables = {"frozen": known.frozen, "share": jnp.float32(settings["share"])}
  functions = (_adapt(known.family), network_outputs(known.family))
  return Method("renormalised", *functions, variables, dict(settings))


RENORMALISED = Tunable("renormalised", _make, _SPACE)


@functools.cache
def _adapt(family: Adapters) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    frozen = variables["frozen"]
    params = family.init(frozen, key, support.x, ways)
    film = family.renormalised(frozen, support, variables["share"])
    return family.settled(frozen, {**params, "film": film}, support)

  return adapt
