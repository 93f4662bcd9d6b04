"""ResNet-12 in the form of few-shot learning: four residual blocks, each three times 3×3
convolution and batch normalisation, with leaky ReLU (0.1) between and after, a shortcut of
a 1×1 convolution with its own normalisation, and 2×2 max-pooling; at the end the mean over
places. The block is that of Lee et al. (2019, MetaOptNet) without DropBlock, the widths
64-128-256-512 are those of Chen et al. (2021, Meta-Baseline).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.convolution import convolution, mixed_convolution
from mcdi_jax.networks.network import Params
from mcdi_jax.networks.normalised import (
  Normalised,
  mixed,
  moments,
  normalise,
  without_uncounted,
)

BLOCKS, LAYERS = 4, 3
SLOPE = 0.1

Statistics = Callable[[str, str, Array], Params]


def resnet12(channels: int, widths: tuple[int, ...]) -> Normalised:
  """Images [n, h, w, c] in [0, 1] to features [n, D], D = `widths[-1]`.

  Weights are `{"blocks": {"0": {"conv0": kernel, "norm0": {gain, bias}, …, "shortcut":
  kernel, "norm_shortcut": {gain, bias}}, …}}`: every normalisation has leaves of its own,
  as `blocks/0/norm1/gain`, and `blocks/*/norm*` are all of them.
  """
  return Normalised(
    functools.partial(init_blocks, channels=channels, widths=widths),
    apply_blocks,
    apply_with_own_statistics,
    apply_with_mixed_statistics,
  )


def init_blocks(key: Key[Array, ""], channels: int, widths: tuple[int, ...]) -> Params:
  """He et al. (2015), a block after the other."""
  normal = jax.nn.initializers.he_normal()
  inputs = (channels, *widths[:-1])
  blocks = {}
  for n, k in enumerate(jax.random.split(key, BLOCKS)):
    keys, width, block = jax.random.split(k, LAYERS + 1), widths[n], {}
    norm = lambda width=width: {"gain": jnp.ones(width), "bias": jnp.zeros(width)}  # noqa: E731
    for layer in range(LAYERS):
      before = inputs[n] if layer == 0 else width
      block[f"conv{layer}"] = normal(keys[layer], (3, 3, before, width))
      block[f"norm{layer}"] = norm()
    block["shortcut"] = normal(keys[-1], (1, 1, inputs[n], width))
    block["norm_shortcut"] = norm()
    blocks[str(n)] = block
  return {"blocks": blocks}


def apply_blocks(
  weights: Params, statistics: Params, x: Float[Array, "n h w c"]
) -> Float[Array, "n D"]:
  """Normalised with the statistics that are given."""
  given = statistics["blocks"]
  return _apply(weights, x, lambda block, norm, x: given[block][norm])


def apply_with_own_statistics(
  weights: Params, x: Float[Array, "n h w c"], mask: Bool[Array, " n"] | None = None
) -> tuple[Float[Array, "n D"], Params]:
  """Normalised with the statistics of the images that count, which come back with the
  features. None: all count."""
  return _apply_seen(weights, x, mask, lambda block, norm, own: own)


def apply_with_mixed_statistics(
  weights: Params,
  statistics: Params,
  x: Float[Array, "n h w c"],
  share: Any,
  mask: Bool[Array, " n"] | None = None,
) -> tuple[Float[Array, "n D"], Params]:
  """With such a share of their own, layer by layer; their own come back."""
  given = statistics["blocks"]
  mix = lambda block, norm, own: mixed(given[block][norm], own, share)  # noqa: E731
  return _apply_seen(weights, x, mask, mix)


def _apply_seen(
  weights: Params, x: Float[Array, "n h w c"], mask: Any, mix: Callable[..., Params]
) -> tuple[Float[Array, "n D"], Params]:
  """mix: `mix(block, norm, own)` makes of the images' own, which come back, the statistics
  that are normalised with."""
  seen: Params = {block: {} for block in weights["blocks"]}

  def statistics(block: str, norm: str, x: Array) -> Params:
    seen[block][norm] = moments(x, mask)
    return mix(block, norm, seen[block][norm])

  features = _apply(weights, without_uncounted(x, mask), statistics)
  return features, {"blocks": seen}


def _apply(
  weights: Params, x: Float[Array, "n h w c"], statistics: Statistics
) -> Float[Array, "n D"]:
  """`statistics(block, norm, x)` are those that x is normalised with there."""
  for number in range(BLOCKS):
    name = str(number)
    x = _block(weights["blocks"][name], x, functools.partial(statistics, name))
  return x.mean((1, 2))


def _block(
  block: Params, x: Float[Array, "n h w a"], statistics: Callable[[str, Array], Params]
) -> Float[Array, "n i j b"]:
  """Pooled before the last activation, which is monotone: on a quarter of the work."""

  def norm(name: str, x: Array) -> Array:
    return normalise(x, block[name], statistics(name, x))

  y = x
  for layer in range(LAYERS):
    y = convolution(y, block[f"conv{layer}"], on_cpu=mixed_convolution)
    y = norm(f"norm{layer}", y)
    y = jax.nn.leaky_relu(y, SLOPE) if layer < LAYERS - 1 else y
  y = y + norm("norm_shortcut", x @ block["shortcut"][0, 0])
  return jax.nn.leaky_relu(_max_pooled(y), SLOPE)


def _max_pooled(x: Float[Array, "n h w c"]) -> Float[Array, "n i j c"]:
  """2×2, by choices. The gradient of a maximum goes to the places that equal it, divided by
  their number; where x is computed anew for it, and rounded otherwise, there is none."""
  h, w = (size // 2 * 2 for size in x.shape[1:3])
  larger = lambda a, b: jnp.where(a >= b, a, b)  # noqa: E731
  rows = larger(x[:, 0:h:2, :w], x[:, 1:h:2, :w])
  return larger(rows[:, :, 0::2], rows[:, :, 1::2])
