"""Sentence encoders: BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019), and what was
distilled from them, such as MiniLM, from folders in the Hugging Face layout with a
`tokenizer.json`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

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

_NUMBERS = {
  "vocabulary": "vocab_size",
  "width": "hidden_size",
  "hidden": "intermediate_size",
  "layers": "num_hidden_layers",
  "heads": "num_attention_heads",
  "most": "max_position_embeddings",
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
  """Sizes.

  Attributes:
    vocabulary: tokens that there are.
    width, hidden: of a token's state, and inside the feed-forward part.
    layers: of the network.
    heads: of the attention.
    most: positions that there are.
    kinds: of texts that a token may be of; all are of the first.
    first: the place of the first token among them (RoBERTa begins after its padding).
    epsilon: of the normalisation.
    activation: its name.
  """

  vocabulary: int = 8
  width: int = 8
  hidden: int = 12
  layers: int = 2
  heads: int = 2
  most: int = 40
  kinds: int = 2
  first: int = 0
  epsilon: float = 1e-12
  activation: str = "gelu"


def bert(folder: PathLike) -> TextEncoder:
  """A text's features are the mean of its tokens' last hidden states.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  config, params = read_bert(folder, setting="--encoder_weights")
  apply = functools.partial(pooled, config)
  tokenizer = open_tokenizer(folder, config.most - config.first)
  form = (config.heads, config.epsilon, config.activation, config.first)
  return TextEncoder(params, apply, tokenizer, form)


def read_bert(folder: PathLike, *, setting: str) -> tuple[BertConfig, Params]:
  """
  Args:
    setting: that names the folder, for errors.
  """
  config = read_config(folder, setting=setting)
  kind, kinds = config.get("model_type"), ("bert", "roberta", "xlm-roberta")
  check(kind in kinds, "model_type of config.json", kind, f"this reads {list(kinds)}")
  check_numbers(config, _NUMBERS.values())
  check_activation(config.get("hidden_act", "gelu"))
  places = config.get("position_embedding_type", "absolute")
  remedy = "this reads checkpoints with absolute positions"
  check(places == "absolute", "position_embedding_type of config.json", places, remedy)
  width, heads = config["hidden_size"], config["num_attention_heads"]
  remedy = f"it must divide hidden_size {width}"
  check(width % heads == 0, "num_attention_heads of config.json", heads, remedy)
  numbers = {own: config[name] for own, name in _NUMBERS.items()}
  form = BertConfig(
    **numbers,
    kinds=config.get("type_vocab_size", 2),
    first=0 if kind == "bert" else config.get("pad_token_id", 1) + 1,
    epsilon=config.get("layer_norm_eps", 1e-12),
    activation=config.get("hidden_act", "gelu"),
  )
  tensors = read_tensors(folder, "bert." if kind == "bert" else "roberta.")
  return form, jax.tree.map(jnp.asarray, _params(form, tensors))


def _params(config: BertConfig, tensors: Tensors) -> Params:
  width, hidden = config.width, config.hidden
  linear, norm = functools.partial(linear_of, tensors), functools.partial(norm_of, tensors)
  table = lambda name, rows: tensors.take(f"embeddings.{name}.weight", rows, width)  # noqa: E731
  blocks = []
  for n in range(config.layers):
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
  return {
    "word": table("word_embeddings", config.vocabulary),
    "position": table("position_embeddings", config.most),
    "kind": table("token_type_embeddings", config.kinds)[0],  # one text alone
    "first": norm("embeddings.LayerNorm", width),
    "blocks": blocks,
  }


def init_bert(config: BertConfig, key: Key[Array, ""]) -> Params:
  """Untrained: matrices of sd 0.02."""
  keys = iter(jax.random.split(key, 2 + 6 * config.layers))
  drawn = lambda *shape: 0.02 * jax.random.normal(next(keys), shape)  # noqa: E731
  width, hidden = config.width, config.hidden
  norm = {"gain": jnp.ones(width), "bias": jnp.zeros(width)}
  linear = lambda a, b: {"kernel": drawn(a, b), "bias": jnp.zeros(b)}  # noqa: E731
  block = lambda: {  # noqa: E731
    "qkv": [linear(width, width) for _ in range(3)],
    "out": linear(width, width),
    "norm1": norm,
    "fc1": linear(width, hidden),
    "fc2": linear(hidden, width),
    "norm2": norm,
  }
  return {
    "word": drawn(config.vocabulary, width),
    "position": drawn(config.most, width),
    "kind": jnp.zeros(width),
    "first": norm,
    "blocks": [block() for _ in range(config.layers)],
  }


def hidden_states(
  form: BertConfig, params: Params, ids: Int[Array, "n t"], mask: Bool[Array, "n t"]
) -> Float[Array, "n t D"]:
  """Of the last layer. Tokens that do not count change none of those that do."""
  positions = form.first + jnp.maximum(jnp.cumsum(mask, 1) - 1, 0)
  x = params["word"][ids] + params["position"][positions] + params["kind"]
  x = normalised(params["first"], x, form.epsilon)
  for block in params["blocks"]:
    x = _block(form, block, x, mask)
  return x


def _block(
  form: BertConfig, block: Params, x: Float[Array, "n t D"], mask: Bool[Array, "n t"]
) -> Float[Array, "n t D"]:
  n, length, width = x.shape
  heads = lambda part: affine(part, x).reshape(n, length, form.heads, -1)  # noqa: E731
  seen = mask[:, None, None]
  attended = jax.nn.dot_product_attention(*map(heads, block["qkv"]), mask=seen)
  told = affine(block["out"], attended.reshape(n, length, width))
  x = normalised(block["norm1"], x + told, form.epsilon)
  told = affine(block["fc2"], ACTIVATIONS[form.activation](affine(block["fc1"], x)))
  return normalised(block["norm2"], x + told, form.epsilon)


def pooled(
  form: BertConfig, params: Params, ids: Int[Array, "n t"], mask: Bool[Array, "n t"]
) -> Float[Array, "n D"]:
  """The mean of the last hidden states of the tokens that count."""
  x = hidden_states(form, params, ids, mask)
  number = jnp.maximum(mask.sum(1, keepdims=True), 1)
  return jnp.sum(jnp.where(mask[..., None], x, 0.0), 1) / number
