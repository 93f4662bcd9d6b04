"""The support's features as an operator that turns with them: λ (XᵀX + λI)⁻¹, for some λ.

It leaves what no feature reaches and shrinks what all do. Of class means it makes the ridge
classifier, so that prototypes, linear discriminants and ridge are mixtures of what a score
network is given. All λ share one eigendecomposition, made once a task; applied, any mixture
of them takes two matmuls.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from mcdi_jax.networks import leave_one_out

_PENALTIES = (0.03, 3.0)  # the least and the largest λ, in mean squared norms


class Resolvents(NamedTuple):
  """P_r = λ_r (XᵀX + λ_r I)⁻¹ = I − Aᵀ (S + λ_r I)⁻¹ A, the operators of r penalties.

  Attributes:
    x: X [n, D], centred; 0 where an item does not count.
    penalties: λ [r].
    rows: A [m, D] = √S Vᵀ, of the eigenvectors V of XᵀX; m is the smaller of n and D.
    squares: S [m], the eigenvalues.
    errors: [r, n]; leave-one-out errors of the ridge heads of these penalties; 0 for an
      item that is alone in its class, of which nothing would be left.
  """

  x: Any
  penalties: Any
  rows: Any
  squares: Any
  errors: Any

  def __call__(self, v: Float[Array, "*b D"]) -> Float[Array, "r *b D"]:
    """P_r v, of all r."""
    number = len(self.penalties)
    each = jnp.eye(number).reshape(number, *(1,) * (v.ndim - 1), number)
    shape = (number, *v.shape)
    gates = jnp.broadcast_to(each, (*shape[:-1], number))
    return self.mixed(jnp.broadcast_to(v, shape), gates)

  def mixed(
    self, v: Float[Array, "*b D"], gates: Float[Array, "*b r"]
  ) -> Float[Array, "*b D"]:
    """Σ_r g_r P_r v."""
    return _mixed(self.x, self.penalties, (self.rows, self.squares), v, gates)


@jax.custom_jvp
def _mixed(x: Any, penalties: Any, spectrum: Any, v: Any, gates: Any) -> Array:
  """`Resolvents.mixed`. Its derivative is that of P, whatever the spectrum's: where
  eigenvalues are equal, as rows that only fill up make them, eigenvectors have none."""
  rows, squares = spectrum
  damping = 1 / (squares + penalties[:, None])
  inner = (v @ rows.T) * (gates @ damping)
  return gates.sum(-1, keepdims=True) * v - inner @ rows


def _mixed_tangent(primals: Any, tangents: Any) -> tuple[Array, Array]:
  """dP = −P (dXᵀ X + Xᵀ dX + dλ I) P / λ + dλ P / λ."""
  x, penalties, spectrum, v, gates = primals
  operators = (x, penalties, spectrum)
  dx, dpenalties, _, dv, dgates = tangents
  out = _mixed(*primals)
  change = jnp.zeros_like(out)
  if not isinstance(dv, SymbolicZero):
    change += _mixed(*operators, dv, gates)
  if not isinstance(dgates, SymbolicZero):
    change += _mixed(*operators, v, dgates)
  if isinstance(dx, SymbolicZero) and isinstance(dpenalties, SymbolicZero):
    return out, change
  dx = jnp.zeros_like(x) if isinstance(dx, SymbolicZero) else dx
  slope = 0 * penalties if isinstance(dpenalties, SymbolicZero) else dpenalties
  for penalty, dpenalty, gate in zip(
    penalties, slope, jnp.moveaxis(gates, -1, 0), strict=True
  ):
    once = jnp.ones((*v.shape[:-1], 1))
    apply = lambda u: _mixed(x, penalty[None], spectrum, u, once)  # noqa: B023, E731
    shrunk = apply(v)
    moved = (shrunk @ x.T) @ dx + (shrunk @ dx.T) @ x + dpenalty * shrunk
    change += gate[..., None] / penalty * (dpenalty * shrunk - apply(moved))
  return out, change


_mixed.defjvp(_mixed_tangent, symbolic_zeros=True)


def resolvents(
  x: Float[Array, "n D"], member: Float[Array, "n N"], number: int
) -> Resolvents:
  """Of centred features. Penalties are on a grid; a network mixes their operators, which
  stands for any λ between them.

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
  # In turn: LAPACK is slow on batches.
  errors = jax.lax.map(lambda penalty: leave_one_out(x, member, penalty), penalties)
  rows, squares = _spectrum(jax.lax.stop_gradient(x))
  return Resolvents(x, penalties, rows, squares, jnp.where(alone, 0.0, errors))


def _spectrum(x: Float[Array, "n D"]) -> tuple[Float[Array, "m D"], Float[Array, " m"]]:
  """A and S of `Resolvents`, from the smaller of XXᵀ and XᵀX."""
  n, width = x.shape
  if n <= width:
    squares, left = jnp.linalg.eigh(x @ x.T)
    return left.T @ x, jnp.maximum(squares, 0.0)
  squares, right = jnp.linalg.eigh(x.T @ x)
  squares = jnp.maximum(squares, 0.0)
  return jnp.sqrt(squares)[:, None] * right.T, squares
