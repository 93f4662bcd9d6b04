"""A linear classifier on features: the first object whose weights are generated."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.network import Network, Params

_LOO_GRID = np.geomspace(1e-3, 1e3, 13)  # λ, in units of the prior's centre


def head(width: int, ways: int, *, scale: Any = 0.0) -> Network:
  """`{"head": {"kernel": [D, N], "bias": [N]}}`; θ_0 is Gaussian with the given scale."""

  def init(key: Key[Array, ""]) -> Params:
    kernel = scale * jax.random.normal(key, (width, ways))
    return {"head": {"kernel": kernel, "bias": jnp.zeros(ways)}}

  return Network(init, apply_head)


def apply_head(params: Params, x: Float[Array, "n D"]) -> Float[Array, "n N"]:
  return x @ params["head"]["kernel"] + params["head"]["bias"]


def prototype_head(means: Float[Array, "N D"]) -> Params:
  """The head whose logits are −½‖x − μ_c‖² up to a constant (Snell et al. 2017, 2.3), from
  the means of the classes' features.

  It is the nearest-class-mean classifier, and the base of `generated_delta`.
  """
  return {"head": {"kernel": means.T, "bias": -0.5 * jnp.sum(means**2, axis=1)}}


def unit_prototype_head(means: Float[Array, "N D"], present: Bool[Array, " N"]) -> Params:
  """The prototype head of the classes that are there, divided by the mean square distance
  of their means from the centre: features of any size give logits of unit size."""
  centred = means - jnp.mean(means, 0, where=present[:, None])
  square = jnp.sum(centred**2, where=present[:, None]) / jnp.maximum(present.sum(), 1)
  return jax.tree.map(lambda leaf: leaf / (square + 1e-12), prototype_head(means))


def ridge_head(x: Float[Array, "n D"], member: Float[Array, "n N"], penalty: Any) -> Params:
  """The head that minimises Σ‖Wᵀx + b − y‖² + λ‖W‖² over the items that count, y = ±1 for
  each class; b is free (Bertinetto et al. 2019).

  Args:
    x: features; 0 where an item does not count.
    member: 1 where item n counts and belongs to class c.
    penalty: λ.
  """
  counts = member.sum(1, keepdims=True)
  targets = 2 * member - counts  # ±1; 0 where an item does not count
  number = jnp.maximum(counts.sum(), 1)
  x_mean, y_mean = x.sum(0) / number, targets.sum(0) / number
  kernel = solve_ridge(counts * (x - x_mean), counts * (targets - y_mean), penalty)
  return {"head": {"kernel": kernel, "bias": y_mean - x_mean @ kernel}}


def left_out(
  x: Float[Array, "n D"], member: Float[Array, "n N"], penalty: Any
) -> Float[Array, "n N"]:
  """Of the ridge head of one penalty λ (b free, as in `ridge_head`) what is missing to the
  target of each item when it is left out, in closed form: an item's own residual over
  1 − its leverage (Allen 1974). 0 for items that do not count.

  With no more items than dimensions it is by (XXᵀ + λI)⁻¹, where X is centred and XXᵀ is
  filled in the direction of the bias, which X does not reach; else by (XᵀX + λI)⁻¹.

  Args:
    x, member: as `ridge_head` takes them.
  """
  counts = member.sum(1, keepdims=True)
  number = jnp.maximum(counts.sum(), 1)
  targets = 2 * member - counts
  x = counts * (x - x.sum(0) / number)
  y = counts * (targets - targets.sum(0) / number)
  n, width = x.shape
  if n <= width:  # I − hat = λ (XXᵀ + λI)⁻¹; unfilled, small λ would cancel
    ones, typical = counts[:, 0], jnp.sum(x**2) / number + 1e-12
    gram = x @ x.T + typical * jnp.outer(ones, ones) / number
    inverse = _inverse(gram, penalty)
    residual = penalty * (inverse @ y)
    filled = penalty / (typical + penalty) / number
    room = penalty * jnp.diagonal(inverse) - filled
  else:
    inverse = _inverse(x.T @ x, penalty)
    inner = x @ inverse
    residual = y - inner @ (x.T @ y)
    room = 1 - jnp.sum(x * inner, axis=1) - 1 / number  # the bias has leverage 1/n
  return counts * residual / jnp.maximum(room, 1e-7)[:, None]


def leave_one_out(
  x: Float[Array, "n D"], member: Float[Array, "n N"], penalty: Any
) -> Float[Array, " n"]:
  """The squares of what is `left_out`, the mean over the classes that are there."""
  square = jnp.sum(left_out(x, member, penalty) ** 2, axis=1)
  return square / jnp.maximum(member.any(0).sum(), 1)


def _inverse(gram: Float[Array, "m m"], penalty: Any) -> Float[Array, "m m"]:
  eye = jnp.eye(len(gram))
  return jax.scipy.linalg.solve(gram + penalty * eye, eye, assume_a="pos")


def mean_square(x: Float[Array, "n D"], member: Float[Array, "n N"]) -> Float[Array, ""]:
  """Of the distance from their mean, over the items that count: a unit for λ, so that one
  means the same whatever the size of features."""
  counts = member.sum(1, keepdims=True)
  number = jnp.maximum(counts.sum(), 1)
  return jnp.sum((counts * (x - x.sum(0) / number)) ** 2) / number + 1e-12


class RidgePath(NamedTuple):
  """Ridge heads on a grid of λ, and what leave-one-out says of them.

  Attributes:
    penalties: λ [p].
    unexplained: [p] the share of the targets' variance that what kernels say of items left
      out leaves unexplained, at its best scale; items that are alone in their class, of
      which nothing would be left, have no part in it.
    surprise: [p] −2 times the logarithm of the posterior, up to a constant: n log
      unexplained of n such items, and the square by which λ is off the prior.
  """

  penalties: Any
  unexplained: Any
  surprise: Any


def ridge_path(
  x: Float[Array, "n D"], member: Float[Array, "n N"], centre: Any = 1.0, spread: Any = 1.0
) -> RidgePath:
  """λ has a log-normal prior, which decides where items are few. The best scale: a large λ
  shrinks logits without changing their order, and squared errors would call that a fault.

  Args:
    x, member: as `ridge_head` takes them.
    centre: of the prior, in units of `mean_square`.
    spread: of the prior, in decades.
  """
  counts = member.sum(1, keepdims=True)
  number = jnp.maximum(counts.sum(), 1)
  penalties = _LOO_GRID * centre * mean_square(x, member)
  others = counts * (member @ member.sum(0) > 1)[:, None]
  targets = 2 * member - counts
  # From the mean of the other items, each left out in turn; so much for kernels to say.
  left = others * (targets - targets.sum(0) / number) * number / jnp.maximum(number - 1, 1)

  def unexplained(penalty: Float[Array, ""]) -> Float[Array, ""]:
    said = left - others * left_out(x, member, penalty)
    along = jnp.maximum(jnp.sum(left * said), 0.0)
    sizes = jnp.sum(left**2) * jnp.sum(said**2)
    return 1 - along**2 / jnp.maximum(sizes, 1e-12)

  found = jax.lax.map(unexplained, penalties)  # in turn: LAPACK is slow on batches
  off = jnp.log10(_LOO_GRID) / spread
  surprise = others.sum() * jnp.log(jnp.maximum(found, 1e-6)) + off**2
  return RidgePath(penalties, found, surprise)


def ridge_head_loo(
  x: Float[Array, "n D"], member: Float[Array, "n N"], path: RidgePath
) -> Params:
  """The ridge head of the λ that surprises least."""
  return ridge_head(x, member, path.penalties[jnp.argmin(path.surprise)])


def ridge_head_averaged(
  x: Float[Array, "n D"], member: Float[Array, "n N"], path: RidgePath, trust: Any
) -> Params:
  """The mean of ridge heads over the posterior of λ, to the power of `trust`."""
  share = jax.nn.softmax(-0.5 * trust * path.surprise)
  heads = jax.lax.map(lambda penalty: ridge_head(x, member, penalty), path.penalties)
  return jax.tree.map(lambda leaf: jnp.tensordot(share, leaf, 1), heads)


def solve_ridge(
  x: Float[Array, "n D"], y: Float[Array, "n N"], penalty: Any
) -> Float[Array, "D N"]:
  """(XᵀX + λI)⁻¹ XᵀY = Xᵀ (XXᵀ + λI)⁻¹ Y: the smaller of the two systems."""
  n, width = x.shape
  if n < width:
    return x.T @ jax.scipy.linalg.solve(x @ x.T + penalty * jnp.eye(n), y, assume_a="pos")
  gram = x.T @ x + penalty * jnp.eye(width)
  return jax.scipy.linalg.solve(gram, x.T @ y, assume_a="pos")


def without_absent(params: Params, present: Bool[Array, " N"]) -> Params:
  """The same head with logits −∞ for the classes that are not there."""
  kernel, bias = params["head"]["kernel"], params["head"]["bias"]
  absent = jnp.asarray(-jnp.inf, bias.dtype)
  return {
    "head": {
      "kernel": jnp.where(present, kernel, 0),
      "bias": jnp.where(present, bias, absent),
    }
  }
