"""What an encoder is: images in, features out, with weights from a file."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from mcdi_jax.lib.errors import InputError

Params = Any


class Encoder(NamedTuple):
  """With its weights.

  Attributes:
    params: a pytree of arrays.
    apply: `apply(params, x [n, s, s, 3]) → features [n, D]`; x is normalised.
    size: pixels a side that images are resized to, unless another is asked for.
    mean, sd: of each channel in [0, 1], which x is normalised with.
    resize: method of `jax.image.resize`.
  """

  params: Params
  apply: Callable[[Params, Any], Array]
  size: int
  mean: tuple[float, float, float]
  sd: tuple[float, float, float]
  resize: Literal["bilinear", "bicubic"] = "bilinear"


def features_of(
  encoder: Encoder, params: Params, images: UInt8[Array, "n h w c"], size: int
) -> Float[Array, "n D"]:
  """Of images as they are: grey ones become colours, all are resized and normalised."""
  x = jnp.asarray(images, jnp.float32) / 255
  x = jnp.broadcast_to(x, (*x.shape[:3], 3))
  if x.shape[1:3] != (size, size):
    x = jax.image.resize(x, (len(x), size, size, 3), encoder.resize)
  x = (x - jnp.asarray(encoder.mean)) / jnp.asarray(encoder.sd)
  return encoder.apply(params, x)


class Tensors:
  """The arrays of a checkpoint, each asked for by its name and with its shape, so that a
  file of another network is told by the first that does not fit."""

  def __init__(self, arrays: dict[str, np.ndarray], place: str):
    self.arrays, self.place = arrays, place

  def __contains__(self, name: str) -> bool:
    return name in self.arrays

  def take(self, name: str, *shape: int) -> np.ndarray:
    if name not in self.arrays:
      raise InputError(
        f"{self.place} has no tensor {name!r}: give the checkpoint of this encoder"
      )
    found = self.arrays[name]
    if found.shape != shape:
      raise InputError(
        f"{name} in {self.place} has shape {found.shape}, this encoder needs {shape}: give "
        "the checkpoint of this encoder"
      )
    return np.asarray(found, np.float32)
