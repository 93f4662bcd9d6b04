"""Vision transformers (Dosovitskiy et al. 2021) from folders in the Hugging Face layout:
`config.json` and `model.safetensors`. DINOv2 (Oquab et al. 2023) and the image half of CLIP
(Radford et al. 2021) differ in names, in where layers are normalised and scaled, and in the
activation.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mcdi_jax.encoders.encoder import Encoder, Params
from mcdi_jax.encoders.transformer import (
  ACTIVATIONS,
  affine,
  check_activation,
  linear_of,
  norm_of,
  normalised,
)
from mcdi_jax.lib.config import check
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.hugging_face import Tensors, check_numbers, read_config, read_tensors

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_CUBIC = -0.75  # a of the bicubic kernel that checkpoints' authors resize positions with


_NUMBERS = (
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "patch_size",
  "image_size",
)


class _Form(NamedTuple):
  """Static: heads of the attention, pixels of a patch, of the image that positions are of,
  the ε of the normalisation, and the activation's name."""

  heads: int
  patch: int
  image: int
  epsilon: float
  activation: str


def dinov2(folder: PathLike) -> Encoder:
  """The features are the class token's, normalised.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  config, tensors = _read(folder, "", "dinov2")
  width, layers = config["hidden_size"], config["num_hidden_layers"]
  hidden = int(width * config.get("mlp_ratio", 4))
  gated = config.get("use_swiglu_ffn", False)
  remedy = "this reads checkpoints with the plain MLP, as those of small to large are"
  check(not gated, "use_swiglu_ffn of config.json", gated, remedy)
  form = _form(config, "gelu", 1e-6)
  linear, norm = functools.partial(linear_of, tensors), functools.partial(norm_of, tensors)
  blocks = []
  for n in range(layers):
    name = f"encoder.layer.{n}"
    inner = f"{name}.attention.attention"
    blocks.append(
      {
        "norm1": norm(f"{name}.norm1", width),
        "qkv": [
          linear(f"{inner}.{part}", width, width) for part in ("query", "key", "value")
        ],
        "out": linear(f"{name}.attention.output.dense", width, width),
        "scale1": tensors.take(f"{name}.layer_scale1.lambda1", width),
        "norm2": norm(f"{name}.norm2", width),
        "fc1": linear(f"{name}.mlp.fc1", width, hidden),
        "fc2": linear(f"{name}.mlp.fc2", hidden, width),
        "scale2": tensors.take(f"{name}.layer_scale2.lambda1", width),
      }
    )
  places = 1 + (form.image // form.patch) ** 2
  params = {
    "patch": _patch(tensors, "embeddings.patch_embeddings.projection", form, width),
    "class": tensors.take("embeddings.cls_token", 1, 1, width)[0, 0],
    "position": tensors.take("embeddings.position_embeddings", 1, places, width)[0],
    "blocks": blocks,
    "last": norm("layernorm", width),
  }
  params, apply = jax.tree.map(jnp.asarray, params), functools.partial(_apply, form)
  size = 224 // form.patch * form.patch
  return Encoder(params, apply, size, *_IMAGENET, "bicubic", tuple(form))


def clip_vision(folder: PathLike) -> Encoder:
  """The features are the class token's, normalised, and projected where the checkpoint has
  the projection into the space that images share with texts.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  config, tensors = _read(folder, "vision_model.", "clip")
  width, hidden = config["hidden_size"], config["intermediate_size"]
  form = _form(config, "quick_gelu", 1e-5)
  linear, norm = functools.partial(linear_of, tensors), functools.partial(norm_of, tensors)
  blocks = []
  for n in range(config["num_hidden_layers"]):
    name = f"encoder.layers.{n}"
    inner = f"{name}.self_attn"
    blocks.append(
      {
        "norm1": norm(f"{name}.layer_norm1", width),
        "qkv": [linear(f"{inner}.{part}_proj", width, width) for part in "qkv"],
        "out": linear(f"{inner}.out_proj", width, width),
        "norm2": norm(f"{name}.layer_norm2", width),
        "fc1": linear(f"{name}.mlp.fc1", width, hidden),
        "fc2": linear(f"{name}.mlp.fc2", hidden, width),
      }
    )
  places = 1 + (form.image // form.patch) ** 2
  params = {
    "patch": _patch(tensors, "embeddings.patch_embedding", form, width),
    "class": tensors.take("embeddings.class_embedding", width),
    "position": tensors.take("embeddings.position_embedding.weight", places, width),
    "first": norm("pre_layrnorm", width),
    "blocks": blocks,
    "last": norm("post_layernorm", width),
  }
  projection = "visual_projection.weight"
  if projection in tensors:
    params["projection"] = tensors.take(projection, *tensors.arrays[projection].shape).T
  params, apply = jax.tree.map(jnp.asarray, params), functools.partial(_apply, form)
  return Encoder(params, apply, form.image, *_CLIP, "bicubic", tuple(form))


def _read(folder: PathLike, prefix: str, kind: str) -> tuple[dict[str, Any], Tensors]:
  """Its config, that of the image half, and its tensors without a prefix that only some
  files have."""
  config = read_config(folder, setting="--encoder_weights")
  config = {**config, **(config.get("vision_config") or {})}
  model = str(config.get("model_type", kind)).removesuffix("_vision_model")
  check(model == kind, "model_type of config.json", model, f"this reads {kind!r} alone")
  check_numbers(config, _NUMBERS)
  return config, read_tensors(folder, prefix)


def _form(config: dict[str, Any], activation: str, epsilon: float) -> _Form:
  """With the settings that checkpoints of this kind leave out."""
  heads, width = config["num_attention_heads"], config["hidden_size"]
  remedy = f"it must divide hidden_size {width}"
  check(width % heads == 0, "num_attention_heads of config.json", heads, remedy)
  chosen = config.get("hidden_act", activation)
  check_activation(chosen)
  epsilon = config.get("layer_norm_eps", epsilon)
  return _Form(heads, config["patch_size"], config["image_size"], epsilon, chosen)


def _patch(tensors: Tensors, name: str, form: _Form, width: int) -> Params:
  """A linear map of a patch's pixels, in the order [row, column, channel]."""
  kernel = tensors.take(f"{name}.weight", width, 3, form.patch, form.patch)
  bias = f"{name}.bias"
  return {
    "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, width),
    "bias": tensors.take(bias, width) if bias in tensors else np.zeros(width, np.float32),
  }


def _apply(form: _Form, params: Params, x: Float[Array, "n h w 3"]) -> Float[Array, "n D"]:
  """Pixels beyond the last whole patch are left out."""
  n, p = len(x), form.patch
  rows, columns = x.shape[1] // p, x.shape[2] // p
  x = x[:, : rows * p, : columns * p].reshape(n, rows, p, columns, p, 3)
  patches = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, -1)
  tokens = affine(params["patch"], patches)
  first = jnp.broadcast_to(params["class"], (n, 1, tokens.shape[-1]))
  x = jnp.concatenate([first, tokens], 1)
  x = x + _positions(params["position"], form.image // p, rows, columns)
  if "first" in params:
    x = normalised(params["first"], x, form.epsilon)
  for block in params["blocks"]:
    x = _block(form, block, x)
  pooled = normalised(params["last"], x[:, 0], form.epsilon)
  return pooled @ params["projection"] if "projection" in params else pooled


def _block(form: _Form, block: Params, x: Float[Array, "n t D"]) -> Float[Array, "n t D"]:
  n, length, width = x.shape
  given = normalised(block["norm1"], x, form.epsilon)
  heads = lambda part: affine(part, given).reshape(n, length, form.heads, -1)  # noqa: E731
  attended = jax.nn.dot_product_attention(*map(heads, block["qkv"]))
  told = affine(block["out"], attended.reshape(n, length, width))
  x = x + told * block.get("scale1", 1.0)
  given = normalised(block["norm2"], x, form.epsilon)
  told = affine(block["fc2"], ACTIVATIONS[form.activation](affine(block["fc1"], given)))
  return x + told * block.get("scale2", 1.0)


def _positions(
  position: Float[Array, "p D"], side: int, rows: int, columns: int
) -> Float[Array, "q D"]:
  """For as many patches as an image has, by bicubic interpolation of those learned."""
  if (rows, columns) == (side, side):
    return position
  grid = jnp.reshape(position[1:], (side, side, -1))
  up, across = bicubic_matrix(side, rows), bicubic_matrix(side, columns)
  resized = jnp.einsum("ih,hwd,jw->ijd", up, grid, across)
  return jnp.concatenate([position[:1], resized.reshape(rows * columns, -1)])


def bicubic_matrix(old: int, new: int) -> Float[np.ndarray, "new old"]:
  """Row i says how new value i is made of the old ones: the kernel of Keys (1981) with
  a = −0.75 on the four nearest, those beyond the ends being the ends."""
  place = (np.arange(new) + 0.5) * old / new - 0.5
  first = np.floor(place).astype(int)
  found = np.zeros((new, old))
  for tap in range(-1, 3):
    distance = np.abs(place - first - tap)
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    np.add.at(found, (np.arange(new), np.clip(first + tap, 0, old - 1)), weight)
  return found.astype(np.float32)
