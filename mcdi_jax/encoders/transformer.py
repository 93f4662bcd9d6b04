"""What transformers from folders in the Hugging Face layout have in common: `config.json`,
`model.safetensors`, and layers."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.encoders.encoder import Params, Tensors
from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import DamagedError, MissingError
from mcdi_jax.lib.files import PathLike

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


def read_config(folder: PathLike) -> dict[str, Any]:
  """Raises `MissingError` or `DamagedError` where there is none."""
  place = files.as_path(folder) / "config.json"
  try:
    return files.read_json(place)
  except MissingError:
    raise MissingError(
      f"there is no {place}: name the folder of a checkpoint with --encoder_weights"
    ) from None
  except DamagedError:
    raise DamagedError(f"{place} is no JSON: bring the checkpoint's own") from None


def check_numbers(config: dict[str, Any], names: Iterable[str]) -> None:
  """Raises `InputError` for one that is no positive number."""
  for name in names:
    value = config.get(name)
    whole = isinstance(value, int) and value > 0
    check(whole, f"{name} of config.json", value, "a positive number is needed")


def check_activation(name: str) -> None:
  remedy = f"this knows {sorted(ACTIVATIONS)}"
  check(name in ACTIVATIONS, "hidden_act of config.json", name, remedy)


def read_tensors(folder: PathLike, prefix: str = "") -> Tensors:
  """Of `model.safetensors`, without a prefix that only some files have."""
  folder = files.as_path(folder)
  arrays = files.read_arrays(folder / "model.safetensors")
  names = {name.removeprefix(prefix): array for name, array in arrays.items()}
  return Tensors(names, f"{folder.name}/model.safetensors")


def linear_of(tensors: Tensors, name: str, inputs: int, outputs: int) -> Params:
  kernel = tensors.take(f"{name}.weight", outputs, inputs).T
  return {"kernel": kernel, "bias": tensors.take(f"{name}.bias", outputs)}


def norm_of(tensors: Tensors, name: str, width: int) -> Params:
  parts = {"gain": "weight", "bias": "bias"}
  return {own: tensors.take(f"{name}.{part}", width) for own, part in parts.items()}


def affine(layer: Params, x: Float[Array, "*n a"]) -> Float[Array, "*n b"]:
  return x @ layer["kernel"] + layer["bias"]


def normalised(
  layer: Params, x: Float[Array, "*n D"], epsilon: float
) -> Float[Array, "*n D"]:
  x = x - x.mean(-1, keepdims=True)
  scale = jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + epsilon)
  return x * scale * layer["gain"] + layer["bias"]
