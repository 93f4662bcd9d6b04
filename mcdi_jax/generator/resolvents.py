"""The support's features as an operator that turns with them: λ (XᵀX + λI)⁻¹, for some λ.

It leaves what no feature reaches and shrinks what all do. Of class means it makes the ridge
classifier, so that prototypes, linear discriminants and ridge are mixtures of what a score
network is given.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mcdi_jax.networks import leave_one_out

_PENALTIES = (0.03, 3.0)  # the least and the largest λ, in mean squared norms


class Resolvents(NamedTuple):
  """P_r v = v − Lᵀ (R_r v), the operators of r penalties.

  Attributes:
    left: L [m, D], m the smaller of items and D.
    right: R [r, m, D].
    errors: [r, n]; leave-one-out errors of the ridge heads of these penalties; 0 for an
      item that is alone in its class, of which nothing would be left.
  """

  left: Any
  right: Any
  errors: Any

  def __call__(self, v: Float[Array, "*b D"]) -> Float[Array, "r *b D"]:
    inner = jnp.einsum("rmd,...d->r...m", self.right, v)
    return v - jnp.einsum("r...m,md->r...d", inner, self.left)


def resolvents(
  x: Float[Array, "n D"], member: Float[Array, "n N"], number: int
) -> Resolvents:
  """Of centred features, by Cholesky of the smaller of XXᵀ and XᵀX (the gradient of an
  eigendecomposition is NaN where rows that only fill up make eigenvalues equal). Penalties
  are on a grid; a network mixes their operators, which stands for any λ between them, and
  the decomposition is made once a task.

  Args:
    member: 1 where item n counts and belongs to class c.
    number: of penalties.
  """
  counts = member.sum(1, keepdims=True)
  alone = member @ member.sum(0) == 1
  items = jnp.maximum(counts.sum(), 1)
  x = jnp.where(counts > 0, x - jnp.sum(counts * x, 0) / items, 0.0)
  grid = jnp.float32(np.geomspace(*_PENALTIES, number))
  penalties = grid * jnp.sum(x**2) / items + 1e-12
  n, width = x.shape
  left = x if n <= width else jnp.eye(width)

  def of_penalty(penalty: Any) -> tuple[Array, Array]:
    errors, inverse = leave_one_out(x, member, penalty)
    return inverse @ (x if n <= width else x.T @ x), jnp.where(alone, 0.0, errors)

  # In turn: LAPACK is slow on batches.
  return Resolvents(left, *jax.lax.map(of_penalty, penalties))
