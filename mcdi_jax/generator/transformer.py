"""The token transformer: one token a class, attention over classes, time by modulation
of the normalised activations (Peebles & Xie 2023)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mcdi_jax.generator.score import Mlp, ScoreNetwork, class_statistics, time_features
from mcdi_jax.tasks import class_means


class _Block(nn.Module):
  """Attention over classes and an MLP, each normalised and modulated by the time; the
  modulation is shared by all blocks but for a bias (Chen et al. 2024, adaLN-single)."""

  width: int
  heads: int

  @nn.compact
  def __call__(
    self,
    h: Float[Array, "N w"],
    modulation: Float[Array, " m"],
    present: Bool[Array, " N"],
  ) -> Float[Array, "N w"]:
    bias = self.param("modulation", nn.initializers.zeros, (6 * self.width,))
    modulation = modulation + bias
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.split(modulation, 6)
    normalise = lambda x: nn.LayerNorm(use_scale=False, use_bias=False)(x)  # noqa: E731
    a = normalise(h) * (1 + scale_a) + shift_a
    h = h + (1 + gate_a) * _attention(a, self.heads, self.width, present)
    m = normalise(h) * (1 + scale_m) + shift_m
    return h + (1 + gate_m) * Mlp(2 * self.width, self.width)(m)


def _attention(
  h: Float[Array, "N w"], heads: int, width: int, present: Bool[Array, " N"]
) -> Float[Array, "N w"]:
  """Softmax attention over the classes, without positions: they are a set."""
  qkv = nn.Dense(3 * width, use_bias=False)(h)
  q, k, v = jnp.moveaxis(qkv.reshape(-1, 3, heads, width // heads), 1, 0)
  logits = jnp.einsum("nhc,mhc->hnm", q, k) * (width // heads) ** -0.5
  weights = jax.nn.softmax(logits, where=present)
  mixed = jnp.einsum("hnm,mhc->nhc", weights, v)
  return nn.Dense(width)(mixed.reshape(-1, width))


class TokenTransformer(ScoreNetwork):
  """See `score.py` for the two methods; permuting the classes permutes the output."""

  def setup(self):
    w = self.config.width
    self.shot_encoder = Mlp(2 * w, w)
    self.class_encoder = nn.Dense(w)
    self.token_encoder = nn.Dense(w)
    self.time_encoder = Mlp(w, 6 * w)
    self.blocks = [_Block(w, self.config.heads) for _ in range(self.config.layers)]

  def encode(
    self, x: Float[Array, "n D"], member: Float[Array, "n N"]
  ) -> Float[Array, "N w"]:
    """Mean of each class beside the mean of a learned encoding of its shots."""
    statistics = class_statistics(x, member)
    mean, task_mean = statistics.mean, statistics.task_mean
    everywhere = jnp.broadcast_to(task_mean, mean.shape)
    per_shot = class_means(member, self.shot_encoder(x - task_mean))
    parts = [mean - task_mean, everywhere, per_shot, statistics.log_shots[:, None]]
    return self.class_encoder(jnp.concatenate(parts, -1))

  @nn.compact
  def denoise(
    self,
    context: Float[Array, "N w"],
    present: Bool[Array, " N"],
    x: Float[Array, "N W"],
    time: Any,
  ) -> Float[Array, "N W"]:
    h = context + self.token_encoder(x)
    modulation = self.time_encoder(time_features(time))
    for block in self.blocks:
      h = block(h, modulation, present)
    return nn.Dense(x.shape[-1], name="out")(nn.LayerNorm(name="norm")(h))
