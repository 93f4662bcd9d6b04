"""The rotation-equivariant score network for heads on a feature space (`method.md` 3.7).

Each class has a few vector channels and some scalar ones. Vectors are mixed only by
coefficients that come from scalars; scalars learn of vectors only by inner products. So
the output turns with the features and permutes with the classes, and neither the width
of the features nor the number of ways is built in.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.generator.score import Mlp, ScoreConfig, time_features

_PAIRS = 32  # inner products that a block takes of each class


def _mix(channels: int, name: str, v: Float[Array, "N a D"]) -> Float[Array, "N b D"]:
  """A linear map of the vector channels, the same for every coordinate."""
  dense = nn.Dense(channels, use_bias=False, name=name)
  return jnp.swapaxes(dense(jnp.swapaxes(v, 1, 2)), 1, 2)


def _unit(v: Float[Array, "N a D"]) -> Float[Array, "N a D"]:
  """Scaled to unit rms over a class's channels: turns with its argument."""
  return v * jax.lax.rsqrt(jnp.mean(v**2, axis=(1, 2), keepdims=True) + 1e-6)


class _Block(nn.Module):
  """Scalars from inner products, attention over classes, vectors mixed by scalars."""

  width: int
  heads: int
  vectors: int

  @nn.compact
  def __call__(
    self, h: Float[Array, "N w"], v: Float[Array, "N v D"]
  ) -> tuple[Float[Array, "N w"], Float[Array, "N v D"]]:
    u = _unit(v)
    left, right = _mix(_PAIRS, "left", u), _mix(_PAIRS, "right", u)
    products = jnp.mean(left * right, -1)
    seen = nn.LayerNorm()(h)
    h = h + Mlp(2 * self.width, self.width)(jnp.concatenate([seen, products], -1))
    h, gathered = self._attend(h, left, right, u)
    coefficients = nn.Dense(
      2 * self.vectors**2,
      kernel_init=nn.initializers.variance_scaling(0.1, "fan_in", "normal"),
    )(nn.LayerNorm()(h)).reshape(-1, 2, self.vectors, self.vectors)
    own = jnp.einsum("nab,nbd->nad", coefficients[:, 0], u)
    others = jnp.einsum("nab,nbd->nad", coefficients[:, 1], gathered)
    return h, v + (own + others) * self.vectors**-0.5

  def _attend(self, h, left, right, u):
    """Who attends to whom is read from scalars and from inner products between classes."""
    seen = nn.LayerNorm()(h)
    qkv = nn.Dense(3 * self.width, use_bias=False)(seen)
    each = self.width // self.heads
    q, k, value = jnp.moveaxis(qkv.reshape(-1, 3, self.heads, each), 1, 0)
    logits = jnp.einsum("nhc,mhc->nmh", q, k) * each**-0.5
    between = jnp.einsum("npd,mpd->nmp", left, right) / left.shape[-1]
    weights = jax.nn.softmax(logits + nn.Dense(self.heads)(between), axis=1)
    scalars = jnp.einsum("nmh,mhc->nhc", weights, value).reshape(h.shape)
    offered = _mix(self.vectors, "offered", u).reshape(
      u.shape[0], self.heads, self.vectors // self.heads, u.shape[-1]
    )
    gathered = jnp.einsum("nmh,mhad->nhad", weights, offered).reshape(u.shape)
    return h + nn.Dense(self.width)(scalars), gathered


class EquivariantNetwork(nn.Module):
  """See `score.py` for the two methods."""

  config: ScoreConfig

  def encode(
    self, shots: Float[Array, "N K D"]
  ) -> tuple[Float[Array, "N c D"], Float[Array, "N s"]]:
    """Vector channels: the class mean as it differs from the task's, the task's mean, the
    mean of the shots weighted by their distance from the class mean. Scalars: their
    spread, and log K."""
    mean = shots.mean(1)
    task_mean = jnp.broadcast_to(mean.mean(0), mean.shape)
    offset = shots - mean[:, None]
    distance = jnp.mean(offset**2, -1, keepdims=True)
    skew = jnp.mean(distance * offset, 1)
    vectors = jnp.stack([mean - task_mean, task_mean, skew], 1)
    log_shots = jnp.full((mean.shape[0], 1), jnp.log(shots.shape[1]))
    return vectors, jnp.concatenate([distance.mean(1), log_shots], -1)

  @nn.compact
  def denoise(
    self,
    context: tuple[Float[Array, "N c D"], Float[Array, "N s"]],
    x: Float[Array, "N W"],
    time: Any,
  ) -> Float[Array, "N W"]:
    vectors, scalars = context
    c, d = self.config, vectors.shape[-1]
    noisy, rest = x[:, :d], x[:, d:]
    v = _mix(c.vectors, "embed", jnp.concatenate([noisy[:, None], vectors], 1))
    clock = jnp.tile(time_features(time), (x.shape[0], 1))
    h = nn.Dense(c.width)(jnp.concatenate([rest, scalars, clock], -1))
    for _ in range(c.layers):
      h, v = _Block(c.width, c.heads, c.vectors)(h, v)
    h = nn.LayerNorm()(h)
    coefficients = nn.Dense(c.vectors)(h) * c.vectors**-0.5
    vector = jnp.einsum("na,nad->nd", coefficients, _unit(v))
    size = jnp.sqrt(jnp.mean(v**2, axis=(1, 2)))[:, None]
    return jnp.concatenate([vector * size, nn.Dense(rest.shape[-1])(h)], -1)

  def __call__(
    self, shots: Float[Array, "N K D"], x: Float[Array, "N W"], time: Any
  ) -> Float[Array, "N W"]:
    return self.denoise(self.encode(shots), x, time)
