"""Sentence encoders: BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019), and what was
distilled from them, such as MiniLM, from folders in the Hugging Face layout with a
`tokenizer.json`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mcdi_jax.data.tokenizer import open_tokenizer
from mcdi_jax.encoders.encoder import Params, TextEncoder
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

_NUMBERS = (
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "intermediate_size",
  "max_position_embeddings",
  "vocab_size",
)


class BertForm(NamedTuple):
  """Static: heads of the attention, the ε of the normalisation, the activation's name, and
  the place of the first token among the positions (RoBERTa begins after its padding)."""

  heads: int
  epsilon: float
  activation: str
  first: int


def bert(folder: PathLike) -> TextEncoder:
  """A text's features are the mean of its tokens' last hidden states.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  form, params, most = read_bert(folder)
  apply = functools.partial(_pooled, form)
  return TextEncoder(params, apply, open_tokenizer(folder, most), tuple(form))


def read_bert(folder: PathLike) -> tuple[BertForm, Params, int]:
  """Also how many tokens it sees."""
  config = read_config(folder, setting="--encoder_weights")
  kind, kinds = config.get("model_type"), ("bert", "roberta", "xlm-roberta")
  check(kind in kinds, "model_type of config.json", kind, f"this reads {list(kinds)}")
  check_numbers(config, _NUMBERS)
  check_activation(config.get("hidden_act", "gelu"))
  places = config.get("position_embedding_type", "absolute")
  remedy = "this reads checkpoints with absolute positions"
  check(places == "absolute", "position_embedding_type of config.json", places, remedy)
  width, heads = config["hidden_size"], config["num_attention_heads"]
  remedy = f"it must divide hidden_size {width}"
  check(width % heads == 0, "num_attention_heads of config.json", heads, remedy)
  first = 0 if kind == "bert" else config.get("pad_token_id", 1) + 1
  epsilon = config.get("layer_norm_eps", 1e-12)
  form = BertForm(heads, epsilon, config.get("hidden_act", "gelu"), first)
  tensors = read_tensors(folder, "bert." if kind == "bert" else "roberta.")
  most = config["max_position_embeddings"] - first
  return form, jax.tree.map(jnp.asarray, _params(config, tensors)), most


def _params(config: dict[str, Any], tensors: Tensors) -> Params:
  width, hidden = config["hidden_size"], config["intermediate_size"]
  linear, norm = functools.partial(linear_of, tensors), functools.partial(norm_of, tensors)
  table = lambda name, rows: tensors.take(f"embeddings.{name}.weight", rows, width)  # noqa: E731
  blocks = []
  for n in range(config["num_hidden_layers"]):
    name = f"encoder.layer.{n}"
    parts = ("query", "key", "value")
    blocks.append(
      {
        "qkv": [linear(f"{name}.attention.self.{part}", width, width) for part in parts],
        "out": linear(f"{name}.attention.output.dense", width, width),
        "norm1": norm(f"{name}.attention.output.LayerNorm", width),
        "fc1": linear(f"{name}.intermediate.dense", width, hidden),
        "fc2": linear(f"{name}.output.dense", hidden, width),
        "norm2": norm(f"{name}.output.LayerNorm", width),
      }
    )
  kinds = config.get("type_vocab_size", 2)
  return {
    "word": table("word_embeddings", config["vocab_size"]),
    "position": table("position_embeddings", config["max_position_embeddings"]),
    "kind": table("token_type_embeddings", kinds)[0],  # one text alone
    "first": norm("embeddings.LayerNorm", width),
    "blocks": blocks,
  }


def hidden_states(
  form: BertForm, params: Params, ids: Int[Array, "n t"], mask: Bool[Array, "n t"]
) -> Float[Array, "n t D"]:
  """Of the last layer. Tokens that do not count change none of those that do."""
  positions = form.first + jnp.maximum(jnp.cumsum(mask, 1) - 1, 0)
  x = params["word"][ids] + params["position"][positions] + params["kind"]
  x = normalised(params["first"], x, form.epsilon)
  for block in params["blocks"]:
    x = _block(form, block, x, mask)
  return x


def _block(
  form: BertForm, block: Params, x: Float[Array, "n t D"], mask: Bool[Array, "n t"]
) -> Float[Array, "n t D"]:
  n, length, width = x.shape
  heads = lambda part: affine(part, x).reshape(n, length, form.heads, -1)  # noqa: E731
  seen = mask[:, None, None]
  attended = jax.nn.dot_product_attention(*map(heads, block["qkv"]), mask=seen)
  told = affine(block["out"], attended.reshape(n, length, width))
  x = normalised(block["norm1"], x + told, form.epsilon)
  told = affine(block["fc2"], ACTIVATIONS[form.activation](affine(block["fc1"], x)))
  return normalised(block["norm2"], x + told, form.epsilon)


def _pooled(
  form: BertForm, params: Params, ids: Int[Array, "n t"], mask: Bool[Array, "n t"]
) -> Float[Array, "n D"]:
  x = hidden_states(form, params, ids, mask)
  number = jnp.maximum(mask.sum(1, keepdims=True), 1)
  return jnp.sum(jnp.where(mask[..., None], x, 0.0), 1) / number
