"""A linear classifier on features: the first object whose weights are generated."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.network import Network, Params

_LOO_PENALTIES, _LOO_NUMBER = (1e-3, 1e2), 11  # λ, in mean squared norms


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


def leave_one_out(
  x: Float[Array, "n D"], member: Float[Array, "n N"], penalty: Any
) -> tuple[Float[Array, " n"], Float[Array, "m m"]]:
  """Of the ridge head of one penalty λ (b free, as in `ridge_head`) the squared error on
  each item when it is left out, the mean over the classes that are there, in closed form:
  an item's own residual over 1 − its leverage (Allen 1974). 0 for items that do not count.

  Args:
    x, member: as `ridge_head` takes them.

  Returns:
    The errors; and (XXᵀ + λI)⁻¹ if there are no more items than dimensions, else
    (XᵀX + λI)⁻¹, where X is centred, and XXᵀ is filled in the direction of the bias, which
    X does not reach.
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
  square = jnp.sum((counts * residual / jnp.maximum(room, 1e-7)[:, None]) ** 2, axis=1)
  return square / jnp.maximum(member.any(0).sum(), 1), inverse


def _inverse(gram: Float[Array, "m m"], penalty: Any) -> Float[Array, "m m"]:
  eye = jnp.eye(len(gram))
  return jax.scipy.linalg.solve(gram + penalty * eye, eye, assume_a="pos")


class RidgePath(NamedTuple):
  """What leave-one-out says of ridge heads on a grid of λ.

  Attributes:
    penalties, errors: [p] λ, and the sum over items of the squared errors; items that are
      alone in their class, of which nothing would be left, have no part in it.
    explained: of the targets' variance, the share that the best of them explains on items
      that are left out, in [0, 1].
    alone: whether all items are alone in their class.
  """

  penalties: Any
  errors: Any
  explained: Any
  alone: Any


def ridge_path(x: Float[Array, "n D"], member: Float[Array, "n N"]) -> RidgePath:
  """x and member as `ridge_head` takes them."""
  counts = member.sum(1, keepdims=True)
  number = jnp.maximum(counts.sum(), 1)
  square = jnp.sum((counts * (x - x.sum(0) / number)) ** 2) / number
  penalties = jnp.geomspace(*_LOO_PENALTIES, _LOO_NUMBER) * square + 1e-12
  others = member @ member.sum(0) > 1
  error = lambda penalty: others @ leave_one_out(x, member, penalty)[0]  # noqa: E731
  errors = jax.lax.map(error, penalties)  # in turn: LAPACK is slow on batches
  targets = 2 * member - counts
  y = counts * (targets - targets.sum(0) / number)
  # Of the mean of the other items, each left out in turn as well.
  variance = others @ jnp.sum(y**2, 1) * (number / jnp.maximum(number - 1, 1)) ** 2
  none = jnp.maximum(variance / jnp.maximum(member.any(0).sum(), 1), 1e-12)
  explained = jnp.clip(1 - errors.min() / none, 0.0, 1.0)
  return RidgePath(penalties, errors, explained, ~others.any())


def ridge_head_loo(
  x: Float[Array, "n D"],
  member: Float[Array, "n N"],
  otherwise: Any,
  sharpness: Any = jnp.inf,
  *,
  path: RidgePath | None = None,
) -> Params:
  """The ridge head whose λ has the least leave-one-out error on the support; where every
  class has one item alone λ is `otherwise`.

  Args:
    sharpness: s; instead of the best λ alone, the mean over λ with weights exp(−s (e/e* −
      1)), where e is an error and e* the least.
    path: where it is there already.
  """
  penalties, errors, _, alone = path or ridge_path(x, member)
  if sharpness is jnp.inf:
    best = penalties[jnp.argmin(errors)]
    return ridge_head(x, member, jnp.where(alone, otherwise, best))
  worse = errors / jnp.maximum(errors.min(), 1e-12) - 1
  share = jnp.where(alone, 1 / _LOO_NUMBER, jax.nn.softmax(-sharpness * worse))
  penalties = jnp.where(alone, otherwise, penalties)
  heads = jax.lax.map(lambda penalty: ridge_head(x, member, penalty), penalties)
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
