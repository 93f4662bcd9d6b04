"""What transformers from folders in the Hugging Face layout have in common."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mcdi_jax.encoders.encoder import Params
from mcdi_jax.lib.config import check
from mcdi_jax.lib.hugging_face import Tensors

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


def check_activation(name: str) -> None:
  remedy = f"this knows {sorted(ACTIVATIONS)}"
  check(name in ACTIVATIONS, "hidden_act of config.json", name, remedy)


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
