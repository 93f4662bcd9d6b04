"""The token transformer: one token a class, attention over classes, time by modulation
of the normalised activations (Peebles & Xie 2023)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.generator.score import Mlp, ScoreConfig, time_features


class _Block(nn.Module):
  """Attention over classes and an MLP, each normalised and modulated by the time; the
  modulation is shared by all blocks but for a bias (Chen et al. 2024, adaLN-single)."""

  width: int
  heads: int

  @nn.compact
  def __call__(
    self, h: Float[Array, "N w"], modulation: Float[Array, " m"]
  ) -> Float[Array, "N w"]:
    bias = self.param("modulation", nn.initializers.zeros, (6 * self.width,))
    modulation = modulation + bias
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.split(modulation, 6)
    normalise = lambda x: nn.LayerNorm(use_scale=False, use_bias=False)(x)  # noqa: E731
    a = normalise(h) * (1 + scale_a) + shift_a
    h = h + (1 + gate_a) * _attention(a, self.heads, self.width)
    m = normalise(h) * (1 + scale_m) + shift_m
    return h + (1 + gate_m) * Mlp(2 * self.width, self.width)(m)


def _attention(h: Float[Array, "N w"], heads: int, width: int) -> Float[Array, "N w"]:
  """Softmax attention over the classes, without positions: they are a set."""
  qkv = nn.Dense(3 * width, use_bias=False)(h)
  q, k, v = jnp.moveaxis(qkv.reshape(-1, 3, heads, width // heads), 1, 0)
  logits = jnp.einsum("nhc,mhc->hnm", q, k) * (width // heads) ** -0.5
  mixed = jnp.einsum("hnm,mhc->nhc", jax.nn.softmax(logits), v)
  return nn.Dense(width)(mixed.reshape(-1, width))


class TokenTransformer(nn.Module):
  """See `score.py` for the two methods; permuting the classes permutes the output."""

  config: ScoreConfig

  def setup(self):
    w = self.config.width
    self.shot_encoder = Mlp(2 * w, w)
    self.class_encoder = nn.Dense(w)
    self.token_encoder = nn.Dense(w)
    self.time_encoder = Mlp(w, 6 * w)
    self.blocks = [_Block(w, self.config.heads) for _ in range(self.config.layers)]

  def encode(self, shots: Float[Array, "N K D"]) -> Float[Array, "N w"]:
    """Mean of each class beside the mean of a learned encoding of its shots."""
    mean = shots.mean(1)
    task_mean = jnp.broadcast_to(mean.mean(0), mean.shape)
    per_shot = self.shot_encoder(shots - task_mean[:, None]).mean(1)
    shots_seen = jnp.full((mean.shape[0], 1), jnp.log(shots.shape[1]))
    parts = [mean - task_mean, task_mean, per_shot, shots_seen]
    return self.class_encoder(jnp.concatenate(parts, -1))

  @nn.compact
  def denoise(
    self, context: Float[Array, "N w"], x: Float[Array, "N W"], time: Any
  ) -> Float[Array, "N W"]:
    h = context + self.token_encoder(x)
    modulation = self.time_encoder(time_features(time))
    for block in self.blocks:
      h = block(h, modulation)
    return nn.Dense(x.shape[-1], name="out")(nn.LayerNorm(name="norm")(h))

  def __call__(
    self, shots: Float[Array, "N K D"], x: Float[Array, "N W"], time: Any
  ) -> Float[Array, "N W"]:
    return self.denoise(self.encode(shots), x, time)
