"""What an encoder is: images or texts in, features out, with weights from a file."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from mcdi_jax.data.tokenizer import Tokenizer
from mcdi_jax.lib.errors import InputError

Params = Any


class Encoder(NamedTuple):
  """With its weights.

  Attributes:
    params: a pytree of arrays.
    apply: `apply(params, x [n, s, s, 3]) → features [n, D]`; x is normalised.
    size: pixels a side that images are resized to, unless another is asked for.
    mean, sd: of each channel in [0, 1], which x is normalised with.
    kernel: of the resize, as the checkpoint's authors resize.
    form: what else tells it from another of the same weights, such as its heads.
  """

  params: Params
  apply: Callable[[Params, Any], Array]
  size: int
  mean: tuple[float, float, float]
  sd: tuple[float, float, float]
  kernel: Literal["bilinear", "bicubic"] = "bilinear"
  form: tuple[Any, ...] = ()


class TextEncoder(NamedTuple):
  """With its weights.

  Attributes:
    params: a pytree of arrays.
    apply: `apply(params, ids [n, t], mask [n, t]) → features [n, D]`.
    tokenizer: that makes ids of texts.
    form: what else tells it from another of the same weights, such as its heads.
  """

  params: Params
  apply: Callable[[Params, Any, Any], Array]
  tokenizer: Tokenizer
  form: tuple[Any, ...] = ()


def features_of(
  encoder: Encoder, params: Params, images: UInt8[Array, "n s s 3"]
) -> Float[Array, "n D"]:
  """Of images that `square` has brought to size."""
  x = jnp.asarray(images, jnp.float32) / 255
  x = (x - jnp.asarray(encoder.mean)) / jnp.asarray(encoder.sd)
  return encoder.apply(params, x)


def square(
  image: UInt8[np.ndarray, "h w c"], size: int, kernel: str
) -> UInt8[np.ndarray, "s s 3"]:
  """Of any size, in grey or colour, by Pillow's antialiased resize: the one way in which
  images come before an encoder, wherever they are from."""
  if image.shape[-1] not in (1, 3):
    raise InputError(f"images have {image.shape[-1]} channels: give grey or colours")
  image = np.repeat(image, 3 // image.shape[-1], -1)
  if image.shape[:2] == (size, size):
    return image
  how = getattr(Image.Resampling, kernel.upper())
  return np.asarray(Image.fromarray(image).resize((size, size), how))
