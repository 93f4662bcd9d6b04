"""The token network: weights of any kind as tokens, a condition of tokens beside them.

Each token of weights has a learned place of its own (tokens of classes have none, as
classes are a set, but their class's condition), attends to all others and to the tokens of
the condition; time modulates the normalised activations (Peebles & Xie 2023).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mcdi_jax.generator.score import Mlp, ScoreConfig, ScoreNetwork, time_features
from mcdi_jax.tasks import class_means

_SOFT = 0.3  # of the gradient's rms: numbers far above it count as their signs


class TokenCondition(NamedTuple):
  """What is known of a task.

  Attributes:
    tokens: [m, w] that weights attend to.
    mask: bool [m]; those that count.
    by_class: [N, w], added to the tokens of classes; N may be 0.
    by_place: [S − N, w], added to the other tokens.
    gradient: [S, W] of the support's loss, where the output has a part along it; else None.
  """

  tokens: Any
  mask: Any
  by_class: Any
  by_place: Any
  gradient: Any = None


def attention(
  q: Float[Array, "s h c"],
  k: Float[Array, "m h c"],
  v: Float[Array, "m h c"],
  mask: Bool[Array, " m"],
  chunk: int,
) -> Float[Array, "s h c"]:
  """Softmax attention over the items that count; `chunk` queries at a time, 0: all. On CPU
  as products of three axes, which are several times as fast there as `einsum`'s."""

  def by_matmuls(q: Array, k: Array, v: Array, mask: Array) -> Array:
    q, k, v = (jnp.swapaxes(x, 0, 1) for x in (q, k, v))
    logits = q @ jnp.swapaxes(k, 1, 2) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(logits, where=mask)
    return jnp.swapaxes(weights @ v, 0, 1)

  def fused(q: Array, k: Array, v: Array, mask: Array) -> Array:
    return jax.nn.dot_product_attention(q, k, v, mask=mask[None, None])

  def whole(q: Array) -> Array:
    return jax.lax.platform_dependent(q, k, v, mask, cpu=by_matmuls, default=fused)

  if not chunk or chunk >= len(q):
    return whole(q)
  filled = jnp.pad(q, ((0, -len(q) % chunk), (0, 0), (0, 0)))
  parts = jax.lax.map(whole, filled.reshape(-1, chunk, *q.shape[1:]))
  return parts.reshape(-1, *q.shape[1:])[: len(q)]


class _Attention(nn.Module):
  """Of tokens to other tokens, of which some count."""

  config: ScoreConfig

  @nn.compact
  def __call__(
    self, h: Float[Array, "s w"], to: Float[Array, "m w"], mask: Bool[Array, " m"]
  ) -> Float[Array, "s w"]:
    c = self.config
    heads = lambda x: x.reshape(len(x), c.heads, -1)  # noqa: E731
    q = heads(nn.Dense(c.width, use_bias=False, dtype=c.compute, name="query")(h))
    k = heads(nn.Dense(c.width, use_bias=False, dtype=c.compute, name="key")(to))
    v = heads(nn.Dense(c.width, use_bias=False, dtype=c.compute, name="value")(to))
    mixed = attention(q, k, v, mask, c.chunk)
    return nn.Dense(c.width, dtype=c.compute, name="out")(mixed.reshape(len(h), -1))


class _Block(nn.Module):
  """Attention to weights, attention to the condition, an MLP; modulated by the time, whose
  modulation all blocks share but for a bias (Chen et al. 2024, adaLN-single)."""

  config: ScoreConfig

  @nn.compact
  def __call__(
    self,
    h: Float[Array, "s w"],
    valid: Bool[Array, " s"],
    condition: TokenCondition,
    modulation: Float[Array, " m"],
  ) -> Float[Array, "s w"]:
    w = self.config.width
    bias = self.param("modulation", nn.initializers.zeros, (9 * w,))
    shift, scale, gate = (modulation + bias).reshape(3, 3, w).astype(self.config.compute)

    def normal(x: Array, i: int) -> Array:
      x = nn.LayerNorm(use_scale=False, use_bias=False, dtype=self.config.compute)(x)
      return x * (1 + scale[i]) + shift[i]

    x = normal(h, 0)
    h = h + (1 + gate[0]) * _Attention(self.config, name="weights")(x, x, valid)
    given = nn.LayerNorm(dtype=self.config.compute, name="given")(condition.tokens)
    crossed = _Attention(self.config, name="condition")
    h = h + (1 + gate[1]) * crossed(normal(h, 1), given, condition.mask)
    return h + (1 + gate[2]) * Mlp(2 * w, w, self.config.compute)(normal(h, 2))


class TokenNetwork(ScoreNetwork):
  """See `score.py` for the two methods."""

  def setup(self):
    w = self.config.width
    dtype = self.config.compute
    self.item_encoder = nn.Dense(w, dtype=dtype)
    self.class_encoder = Mlp(2 * w, w, dtype)
    if self.own and self.config.summary:
      self.summary = nn.Dense(self.config.summary * w, dtype=dtype)
      self.place_encoder = nn.Dense(self.own * w, dtype=dtype)
    if self.config.gradient:
      self.gradient_encoder = nn.Dense(w, dtype=dtype)
    if self.config.position:
      self.position_encoder = nn.Dense(w, dtype=dtype)
    if self.config.facts:
      self.fact_encoder = nn.Dense(w, dtype=dtype)

  def encode(
    self,
    x: Float[Array, "m d"],
    member: Float[Array, "m N"],
    mask: Bool[Array, " m"] | None = None,
    gradient: Float[Array, "S W"] | None = None,
    facts: Float[Array, "S W"] | None = None,
    position: Float[Array, "S W"] | None = None,
  ) -> TokenCondition:
    """Items of a support, or whatever a family makes of one.

    Args:
      member: 1 where item m counts and belongs to class c; without classes N is 0.
      mask: which items count; None: those that belong to a class.
      gradient: of the support's loss, as tokens; where the settings say so.
      facts: of the weights, as tokens; where the settings say so.
      position: where the gradient was taken, as tokens; where the settings say so.
    """
    mask = member.any(1) if mask is None else mask
    x = jnp.where(mask[:, None], x, 0.0)  # the rest may hold anything
    by_class = class_means(member, self.class_encoder(x))
    by_place = self._by_place(x, mask)
    ways = len(by_class)
    told = {"gradient": gradient, "fact": facts, "position": position}
    for name, given in told.items():
      if given is not None:
        seen = getattr(self, f"{name}_encoder")(given)
        by_class, by_place = by_class + seen[:ways], by_place + seen[ways:]
    along = gradient if self.config.descends else None
    return TokenCondition(self.item_encoder(x), mask, by_class, by_place, along)

  def _by_place(
    self, x: Float[Array, "m d"], mask: Bool[Array, " m"]
  ) -> Float[Array, "s w"]:
    """What the items say together, with a linear map of its own for each place: attention
    to them alone would have to carry it head by head."""
    if not self.own or not self.config.summary:
      return jnp.zeros((self.own, self.config.width))
    summary = jnp.mean(nn.gelu(self.summary(x)), 0, where=mask[:, None])
    return self.place_encoder(summary).reshape(self.own, -1)

  @nn.compact
  def denoise(
    self,
    context: TokenCondition,
    present: Bool[Array, " N"],
    x: Float[Array, "S W"],
    time: Any,
  ) -> Float[Array, "S W"]:
    c = self.config
    valid = jnp.concatenate([present, jnp.ones(self.own, bool)])
    clock = time_features(time)
    modulation = Mlp(c.width, 9 * c.width, c.compute, name="time")(clock)
    place = self.param("place", nn.initializers.normal(0.5), (self.own, c.width))
    given = jnp.concatenate([context.by_class, place + context.by_place])
    h = nn.Dense(c.width, dtype=c.compute, name="in")(x) + given.astype(c.compute)
    block = nn.remat(_Block) if c.remat else _Block
    for n in range(c.layers):
      h = block(c, name=f"block_{n}")(h, valid, context, modulation)
    h = nn.LayerNorm(dtype=c.compute, name="norm")(h)
    out = nn.Dense(x.shape[-1], dtype=c.compute, name="out")(h).astype(x.dtype)
    return out if context.gradient is None else out + self._along(h, context.gradient)

  def _along(self, h: Float[Array, "S w"], gradient: Float[Array, "S W"]) -> Array:
    """Steps along the gradient and along its softened signs, as which Adam's begin, with a
    rate for each number, learned for its place and from its token: what a token is told of
    the gradient is of fewer dimensions than it has."""
    signs = gradient / (_SOFT + jnp.abs(gradient))
    along, zeros = jnp.stack([gradient, signs], 1), nn.initializers.zeros
    shape, classes = along.shape[1:], len(gradient) - self.own
    rate = self.param("rate", zeros, (self.own, *shape))
    rate = jnp.pad(rate, ((classes, 0), (0, 0), (0, 0)))
    dtype, name = self.config.compute, "told"
    told = nn.DenseGeneral(shape, dtype=dtype, kernel_init=zeros, name=name)(h)
    return jnp.sum((rate + told.astype(rate.dtype)) * along, 1)
