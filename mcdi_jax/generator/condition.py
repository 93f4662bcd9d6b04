"""The condition: a support's features, arranged by class."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Support


def by_class(support: Support, ways: int) -> Float[Array, "N K ..."]:
  """Row c holds the K items labelled c, in the order in which they came.

  Raises:
    InputError: the number of items is no multiple of `ways`.
  """
  number = support.y.shape[0]
  if number == 0 or number % ways:
    raise InputError(
      f"the support has {number} items for {ways} ways: give every class the same number"
    )
  order = jnp.argsort(support.y, stable=True)
  x = support.x[order]
  return x.reshape(ways, number // ways, *x.shape[1:])
