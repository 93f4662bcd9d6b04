"""Encoders that were trained here: a folder that `launch.pretrain` wrote, with the weights
of a conv-4 or a ResNet-12 and what they were trained on."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.encoders.encoder import Encoder, Params
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.networks import Architecture, backbone
from mcdi_jax.weights import load_weights, save_weights

MANIFEST, WEIGHTS = "encoder.json", "weights.safetensors"
_KEYS = ("network", "widths", "image_shape", "sha256")
_LUMA = (0.299, 0.587, 0.114)  # as the data room makes grey of colours


def write_encoder(folder: PathLike, params: Params, about: Mapping[str, Any]) -> None:
  """Writes params of a standardised backbone, and what they are: first without a checksum,
  so that weights which an interruption has left alone are known to be of this command.

  Args:
    about: JSON-able, with `network`, `widths` and `image_shape`.
  """
  folder = files.as_path(folder)
  channels = about["image_shape"][-1]  # of pixels in [0, 1], which stay as they are
  images = {"mean": [0.0] * channels, "sd": [1.0] * channels}
  about = {**about, "pixels": images}
  files.write_json(folder / MANIFEST, {**about, "sha256": ""})
  save_weights(folder / WEIGHTS, params)
  digest = files.sha256(folder / WEIGHTS)
  files.write_json(folder / MANIFEST, {**about, "sha256": digest})


def own_encoder(folder: PathLike, *, network: str) -> Encoder:
  """Its features are those that heads stand on: standardised over the training images.

  Args:
    network: that the folder is to hold.

  Raises:
    MissingError, DamagedError, InputError: no such folder, or not as it was written.
  """
  folder = files.as_path(folder)
  place = folder / MANIFEST
  try:
    about = files.read_json(place, *_KEYS)
  except MissingError:
    raise MissingError(
      f"there is no {place}: name a folder that launch.pretrain wrote with "
      "--encoder_weights"
    ) from None
  if about["network"] != network:
    raise InputError(f"{folder} holds a {about['network']}: give it as --encoder")
  if files.sha256(folder / WEIGHTS) != about["sha256"]:
    raise DamagedError(f"{folder / WEIGHTS} is not what {place} speaks of: write both anew")
  shape = tuple(about["image_shape"])
  if shape[0] != shape[1]:
    raise InputError(
      f"{folder} takes images of {shape[0]}×{shape[1]}: train on square ones"
    )
  made = backbone(Architecture(network, tuple(about["widths"])), shape)
  params = load_weights(folder / WEIGHTS)
  like = jax.eval_shape(made.init, jax.random.key(0))
  if _shapes(params) != _shapes(like):
    raise InputError(
      f"{folder / WEIGHTS} has other widths than {place} says: write both anew"
    )
  apply = functools.partial(_apply, made.apply, shape)
  plain = ((0.0,) * 3, (1.0,) * 3)
  return Encoder(params, apply, shape[0], *plain, form=(network, *about["widths"], *shape))


def _shapes(params: Params) -> Any:
  return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), params)


def _apply(
  apply: Any, shape: tuple[int, ...], params: Params, x: Float[Array, "n s s 3"]
) -> Float[Array, "n D"]:
  """Images of a grey encoder become grey as those that it was trained on."""
  if x.shape[1:3] != shape[:2]:
    raise InputError(
      f"--encoder_size is {x.shape[1]}: this encoder was trained on {shape[0]} pixels a "
      "side, so leave the flag out"
    )
  if shape[-1] == 1:
    x = jnp.round(255 * (x @ jnp.asarray(_LUMA))[..., None]) / 255
  return apply(params, x)
