"""The rotation-equivariant score network for heads on a feature space (`method.md` 3.7).

Each class has a few vector channels and some scalar ones. Vectors are mixed only by
coefficients that come from scalars; scalars learn of vectors only by inner products. So
the output turns with the features and permutes with the classes, and neither the width
of the features nor the number of ways is built in.

The feature space is met twice a block, each time in one matmul over all classes and
channels: in the Gram matrix of the vectors, and when they are mixed. All between is small.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mcdi_jax.generator.resolvents import Resolvents
from mcdi_jax.generator.score import (
  Mlp,
  ScoreNetwork,
  class_statistics,
  take_by_class,
  time_features,
)
from mcdi_jax.tasks import class_means

_EPSILON = 1e-6


def _unit(v: Float[Array, "N v D"]) -> Float[Array, "N v D"]:
  """Each class divided by the rms of its vectors, which turning leaves as it is."""
  return v * jax.lax.rsqrt(jnp.mean(v**2, axis=(1, 2), keepdims=True) + _EPSILON)


def _gram(u: Float[Array, "N v D"]) -> Float[Array, "N N vv"]:
  """Inner products of the channels of every class with those of every other."""
  n, v, d = u.shape
  flat = u.reshape(n * v, d)
  products = (flat @ flat.T / d).reshape(n, v, n, v)
  return jnp.moveaxis(products, 2, 1).reshape(n, n, v * v)


def _mix(
  coefficients: Float[Array, "N N vv"], u: Float[Array, "N v D"]
) -> Float[Array, "N v D"]:
  """Every channel of every class as a linear combination of all channels of all classes."""
  n, v, d = u.shape
  matrix = jnp.moveaxis(coefficients.reshape(n, n, v, v), 2, 1).reshape(n * v, n * v)
  return (matrix @ u.reshape(n * v, d)).reshape(n, v, d)


class _Block(nn.Module):
  """Scalars from inner products, attention over classes, vectors mixed by scalars."""

  width: int
  heads: int

  @nn.compact
  def __call__(
    self,
    h: Float[Array, "N w"],
    v: Float[Array, "N v D"],
    present: Bool[Array, " N"],
    operators: Resolvents | None = None,
  ) -> tuple[Float[Array, "N w"], Float[Array, "N v D"]]:
    n, channels, _ = v.shape
    u = _unit(v)
    products = _gram(u)
    own = jnp.diagonal(products).T
    h = h + Mlp(2 * self.width, self.width)(jnp.concatenate([nn.LayerNorm()(h), own], -1))
    gathered, weights = self._attend(nn.LayerNorm()(h), products, present)
    h = h + gathered
    across = nn.Dense(channels**2, use_bias=False, name="mix_across")(weights)
    within = nn.Dense(channels**2, name="mix_within")(nn.LayerNorm()(h))
    coefficients = across + jnp.eye(n)[:, :, None] * within[:, None]
    # A block's first steps are small.
    mixed = v + 0.3 * channels**-0.5 * _mix(coefficients, u)
    if operators is not None:
      number = len(operators.penalties) * channels
      gates = nn.Dense(number, name="gates")(nn.LayerNorm()(h))
      mixed += 0.3 * operators.mixed(u, gates.reshape(n, channels, -1))
    return h, jnp.where(present[:, None, None], mixed, 0.0)

  def _attend(
    self,
    h: Float[Array, "N w"],
    products: Float[Array, "N N vv"],
    present: Bool[Array, " N"],
  ) -> tuple[Float[Array, "N w"], Float[Array, "N N heads"]]:
    """Who attends to whom is read from scalars and from inner products of vectors.

    Returns:
      What each class gathers of the others' scalars, and the softmax weights.
    """
    qkv = nn.Dense(3 * self.width, use_bias=False)(h)
    q, k, value = jnp.moveaxis(qkv.reshape(len(h), 3, self.heads, -1), 1, 0)
    logits = jnp.einsum("nhc,mhc->nmh", q, k) * q.shape[-1] ** -0.5
    logits = logits + nn.Dense(self.heads, use_bias=False, name="compare")(products)
    there = present[None, :, None]
    weights = jax.nn.softmax(logits, axis=1, where=there)
    gathered = jnp.einsum("nmh,mhc->nhc", weights, value).reshape(len(h), -1)
    return nn.Dense(self.width)(gathered), weights


class EquivariantNetwork(ScoreNetwork):
  """See `score.py` for the two methods."""

  def encode(
    self,
    x: Float[Array, "n D"],
    member: Float[Array, "n N"],
    operators: Resolvents | None = None,
  ) -> tuple[Any, ...]:
    """Vectors [N, c, D] and scalars [N, s]. Vectors: the class mean as it differs from the
    task's, the task's mean, the shots' offsets from their class mean weighted by their
    size; with operators (`ridge`) also what each makes of the first. Scalars: their spread,
    log K; with operators also the leave-one-out error of each λ, in the class."""
    statistics = class_statistics(x, member)
    present, mean, task_mean = statistics.present, statistics.mean, statistics.task_mean
    offset = x - take_by_class(member, mean)
    size = jnp.mean(offset**2, -1, keepdims=True)
    across = jnp.where(present[:, None], mean - task_mean, 0.0)
    everywhere = jnp.where(present[:, None], task_mean, 0.0)
    vectors = [across, everywhere, class_means(member, size * offset)]
    scalars = [class_means(member, size), statistics.log_shots[:, None]]
    told = jnp.stack(vectors, 1), jnp.concatenate(scalars, -1)
    if operators is None:
      return told
    shrunk = jnp.moveaxis(operators(across), 0, 1)
    errors = class_means(member, operators.errors.T)
    vectors, scalars = [told[0], shrunk], [told[1], errors]
    return jnp.concatenate(vectors, 1), jnp.concatenate(scalars, -1), operators

  @nn.compact
  def denoise(
    self,
    context: tuple[Any, ...],
    present: Bool[Array, " N"],
    x: Float[Array, "N W"],
    time: Any,
  ) -> Float[Array, "N W"]:
    vectors, scalars, *operators = context
    c, d = self.config, vectors.shape[-1]
    noisy, rest = x[:, None, :d], x[:, d:]
    given = jnp.concatenate([noisy, vectors], 1)
    embed = self.param("embed", nn.linear.default_kernel_init, (given.shape[1], c.vectors))
    v = jnp.einsum("ncd,cv->nvd", given, embed)
    clock = jnp.tile(time_features(time), (x.shape[0], 1))
    h = nn.Dense(c.width)(jnp.concatenate([rest, scalars, clock], -1))
    for _ in range(c.layers):
      h, v = _Block(c.width, c.heads)(h, v, present, *operators)
    h = nn.LayerNorm()(h)
    coefficients = nn.Dense(c.vectors)(h) * c.vectors**-0.5
    vector = jnp.einsum("nvd,nv->nd", v, coefficients)
    return jnp.concatenate([vector, nn.Dense(rest.shape[-1])(h)], -1)
