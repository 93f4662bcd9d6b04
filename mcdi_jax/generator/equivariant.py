"""The rotation-equivariant score network for heads on a feature space (`method.md` 3.7).

Each class has a few vector channels and some scalar ones. Vectors are mixed only by
coefficients that come from scalars; scalars learn of vectors only by inner products. So
the output turns with the features and permutes with the classes, and neither the width
of the features nor the number of ways is built in.

Vectors are laid out as [N, D, v], channels last, so that mixing them is one matmul.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.generator.score import Mlp, ScoreConfig, time_features

_EPSILON = 1e-6


def _rms(v: Float[Array, "N D v"]) -> Float[Array, "N 1 1"]:
  """Over a class's channels: a scalar that turning leaves as it is."""
  return jnp.sqrt(jnp.mean(v**2, axis=(1, 2), keepdims=True) + _EPSILON)


class _Block(nn.Module):
  """Scalars from inner products, attention over classes, vectors mixed by scalars."""

  width: int
  heads: int
  vectors: int

  @nn.compact
  def __call__(
    self, h: Float[Array, "N w"], v: Float[Array, "N D v"]
  ) -> tuple[Float[Array, "N w"], Float[Array, "N D v"]]:
    unit = v / _rms(v)
    pairs = 2 * self.vectors
    mixed = nn.Dense(2 * pairs + self.vectors, use_bias=False, name="channels")(unit)
    left, right, offered = jnp.split(mixed, [pairs, 2 * pairs], axis=-1)
    products = jnp.mean(left * right, 1)
    h = h + Mlp(2 * self.width, self.width)(
      jnp.concatenate([nn.LayerNorm()(h), products], -1)
    )
    h, gathered = self._attend(h, left, right, offered)
    both = jnp.concatenate([unit, gathered], -1)
    coefficients = nn.Dense(2 * self.vectors**2, name="mixing")(nn.LayerNorm()(h))
    coefficients = coefficients.reshape(-1, 2 * self.vectors, self.vectors)
    step = jnp.einsum("nda,nab->ndb", both, coefficients)
    return h, v + 0.3 * self.vectors**-0.5 * step  # a block's first steps are small

  def _attend(
    self,
    h: Float[Array, "N w"],
    left: Float[Array, "N D p"],
    right: Float[Array, "N D p"],
    offered: Float[Array, "N D v"],
  ) -> tuple[Float[Array, "N w"], Float[Array, "N D v"]]:
    """Who attends to whom is read from scalars and from inner products of vectors; both
    scalars and vectors are gathered. A head sees its share of either as one long row."""
    (n, d, _), heads = offered.shape, self.heads
    qkv = nn.Dense(3 * self.width, use_bias=False)(nn.LayerNorm()(h))
    q, k, value = jnp.moveaxis(qkv.reshape(n, 3, heads, -1), 1, 0)
    rows = lambda u: jnp.moveaxis(u.reshape(n, d, heads, -1), 1, -1).reshape(n, heads, -1)  # noqa: E731
    query = jnp.concatenate([q * q.shape[-1] ** -0.5, rows(left) / d], -1)
    logits = jnp.einsum("nhc,mhc->hnm", query, jnp.concatenate([k, rows(right)], -1))
    offers = jnp.concatenate([value, rows(offered)], -1)
    gathered = jnp.einsum("hnm,mhc->nhc", jax.nn.softmax(logits), offers)
    scalars, vectors = jnp.split(gathered, [value.shape[-1]], axis=-1)
    vectors = jnp.moveaxis(vectors.reshape(n, -1, d), 1, 2)
    return h + nn.Dense(self.width)(scalars.reshape(n, -1)), vectors


class EquivariantNetwork(nn.Module):
  """See `score.py` for the two methods."""

  config: ScoreConfig

  def encode(
    self, shots: Float[Array, "N K D"]
  ) -> tuple[Float[Array, "N D c"], Float[Array, "N s"]]:
    """Vectors: the class mean as it differs from the task's, the task's mean, the shots'
    offsets from their class mean weighted by their size. Scalars: their spread, log K."""
    mean = shots.mean(1)
    task_mean = jnp.broadcast_to(mean.mean(0), mean.shape)
    offset = shots - mean[:, None]
    size = jnp.mean(offset**2, -1, keepdims=True)
    vectors = [mean - task_mean, task_mean, jnp.mean(size * offset, 1)]
    log_shots = jnp.full((mean.shape[0], 1), jnp.log(shots.shape[1]))
    return jnp.stack(vectors, -1), jnp.concatenate([size.mean(1), log_shots], -1)

  @nn.compact
  def denoise(
    self,
    context: tuple[Float[Array, "N D c"], Float[Array, "N s"]],
    x: Float[Array, "N W"],
    time: Any,
  ) -> Float[Array, "N W"]:
    vectors, scalars = context
    c, d = self.config, vectors.shape[1]
    noisy, rest = x[:, :d, None], x[:, d:]
    v = nn.Dense(c.vectors, use_bias=False, name="embed")(
      jnp.concatenate([noisy, vectors], -1)
    )
    clock = jnp.tile(time_features(time), (x.shape[0], 1))
    h = nn.Dense(c.width)(jnp.concatenate([rest, scalars, clock], -1))
    for _ in range(c.layers):
      h, v = _Block(c.width, c.heads, c.vectors)(h, v)
    h = nn.LayerNorm()(h)
    coefficients = nn.Dense(c.vectors)(h) * c.vectors**-0.5
    vector = jnp.einsum("ndv,nv->nd", v, coefficients)
    return jnp.concatenate([vector, nn.Dense(rest.shape[-1])(h)], -1)

  def __call__(
    self, shots: Float[Array, "N K D"], x: Float[Array, "N W"], time: Any
  ) -> Float[Array, "N W"]:
    return self.denoise(self.encode(shots), x, time)
