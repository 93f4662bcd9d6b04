"""A base that generated weights may be a difference from, as a method of its own."""

import functools
from typing import Any

from jaxtyping import Array, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.methods.descent import network_outputs
from mcdi_jax.methods.method import Known, Method
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support


def base_alone(known: Known, name: str) -> Method:
  """The family's base of this name, settled on the support."""
  functions = (_adapt_for(known.family, name), network_outputs(known.family))
  return Method(name, *functions, {"frozen": known.frozen}, {})


@functools.cache
def _adapt_for(family: TaskFamily, name: str) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    del key
    frozen = variables["frozen"]
    return family.settled(frozen, family.base(frozen, name, support, ways), support)

  return adapt
