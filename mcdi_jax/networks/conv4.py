"""conv-4: four blocks of 3×3 convolution, batch normalisation, ReLU, 2×2 max-pooling
(Vinyals et al. 2016), the backbone of few-shot learning."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.convolution import convolution, patches_of
from mcdi_jax.networks.network import Params
from mcdi_jax.networks.normalised import (
  EPSILON,
  Normalised,
  mixed,
  moments,
  without_uncounted,
)

BLOCKS = 4


def conv4(channels: int, width: int = 64) -> Normalised:
  """Images [n, h, w, c] in [0, 1] to features [n, D], D = (h // 16) (w // 16) · width."""
  return Normalised(
    functools.partial(init_blocks, channels=channels, width=width),
    apply_blocks,
    apply_with_own_statistics,
    apply_with_mixed_statistics,
  )


def init_blocks(key: Key[Array, ""], channels: int, width: int) -> list[Params]:
  """He et al. (2015), a block after the other."""
  inputs = (channels, *[width] * (BLOCKS - 1))
  return [
    {
      "kernel": jax.nn.initializers.he_normal()(k, (3, 3, a, width)),
      "gain": jnp.ones(width),
      "bias": jnp.zeros(width),
    }
    for k, a in zip(jax.random.split(key, BLOCKS), inputs, strict=True)
  ]


def apply_blocks(
  weights: list[Params], statistics: list[Params], x: Float[Array, "n h w c"]
) -> Float[Array, "n D"]:
  """Normalised with the statistics that are given."""
  for block, own in zip(weights, statistics, strict=True):
    x = _normalise_and_pool(convolution(x, block["kernel"]), block, own)
  return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # also of no image at all


def apply_with_own_statistics(
  weights: list[Params], x: Float[Array, "n h w c"], mask: Bool[Array, " n"] | None = None
) -> tuple[Float[Array, "n D"], list[Params]]:
  """Normalised with the statistics of the images that count, which come back with the
  features. None: all count."""
  return _apply_seen(weights, x, mask, lambda number, own: own)


def apply_with_mixed_statistics(
  weights: list[Params],
  statistics: list[Params],
  x: Float[Array, "n h w c"],
  share: Any,
  mask: Bool[Array, " n"] | None = None,
) -> tuple[Float[Array, "n D"], list[Params]]:
  """With such a share of their own, block by block; their own come back."""
  mix = lambda number, own: mixed(statistics[number], own, share)  # noqa: E731
  return _apply_seen(weights, x, mask, mix)


def _apply_seen(
  weights: list[Params],
  x: Float[Array, "n h w c"],
  mask: Any,
  mix: Callable[[int, Params], Params],
) -> tuple[Float[Array, "n D"], list[Params]]:
  """mix: makes of the images' own, which come back, the statistics that are normalised
  with."""
  x, seen = without_uncounted(x, mask), []
  for number, block in enumerate(weights):
    x = convolution(x, block["kernel"])
    seen.append(moments(x, mask))
    x = _normalise_and_pool(x, block, mix(number, seen[-1]))
  return x.reshape(x.shape[0], -1), seen


def block_inputs(
  weights: list[Params], x: Float[Array, "n h w c"], mask: Bool[Array, " n"] | None = None
) -> list[Float[Array, "n p d"]]:
  """The patches that each block's kernel meets, one a position, d = 9 c, in the order of
  the kernel's axes; normalised as `apply_with_own_statistics` does."""
  n, height, width, _ = x.shape
  found = []
  for number in range(len(weights)):
    before, _ = apply_with_own_statistics(weights[:number], x, mask)
    images = before.reshape(n, height >> number, width >> number, -1)
    patches = patches_of(images)
    found.append(patches.reshape(n, -1, patches.shape[-1]))
  return found


def _normalise_and_pool(
  x: Float[Array, "n h w c"], weights: Params, statistics: Params
) -> Float[Array, "n i j c"]:
  """ReLU(BN(x)), max-pooled; the maximum is taken first, on a quarter of the work: BN is
  monotone in each channel, rising or falling with the sign of the gain."""
  sign = jnp.where(weights["gain"] < 0, -1.0, 1.0)
  n, h, w, c = x.shape
  x = (x * sign)[:, : h // 2 * 2, : w // 2 * 2]
  x = x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
  gain = sign * weights["gain"] * jax.lax.rsqrt(statistics["var"] + EPSILON)
  return jax.nn.relu((x - sign * statistics["mean"]) * gain + weights["bias"])
