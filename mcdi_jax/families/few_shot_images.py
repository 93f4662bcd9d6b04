"""Few-shot classification of images."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from mcdi_jax.families.few_shot import FewShot
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks.backbones import SMALLEST_IMAGE


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShotImages(FewShot):
  """N-way K-shot tasks of images.

  Attributes:
    image_shape: (h, w, c) of the images.
  """

  image_shape: tuple[int, ...]

  @property
  def item_shape(self) -> tuple[int, ...]:
    return self.image_shape

  def check_items(self, name: str, x: Any) -> None:
    if jnp.ndim(x) != 4 or jnp.shape(x)[1:] != tuple(self.image_shape):
      raise InputError(
        f"{name} has shape {jnp.shape(x)}: this generator was trained for images "
        f"[n, {', '.join(map(str, self.image_shape))}], so resize them or train one for "
        "yours"
      )
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise InputError(
        f"{name} is {jnp.result_type(x)}: give floats in [0, 1], such as x / 255"
      )

  def check_values(self, x: np.ndarray) -> None:
    if not (x.min(initial=0) >= 0 and x.max(initial=0) <= 1):  # also if not finite
      raise InputError("support.x has values outside [0, 1]: scale the images, as x / 255")


def check_image_shape(shape: tuple[int, ...]) -> None:
  """Raises `InputError` for images that are too small for the backbone."""
  height, width, _ = shape
  if min(height, width) < SMALLEST_IMAGE:
    raise InputError(
      f"the images are {height}×{width}: backbones need at least {SMALLEST_IMAGE} pixels "
      "a side, so bring larger ones"
    )
