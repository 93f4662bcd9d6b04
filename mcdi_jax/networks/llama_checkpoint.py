"""Llama-style models in folders of the Hugging Face layout, in and out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.hugging_face import (
  Tensors,
  check_numbers,
  number_of,
  read_config,
  read_tensors,
)
from mcdi_jax.networks.llama import MATRICES, NORMS, LlamaConfig
from mcdi_jax.networks.network import Params

_NUMBERS = (
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "vocab_size",
)
_OPTIONAL = ("head_dim", "max_position_embeddings")


def read_llama(folder: PathLike, *, setting: str = "--base") -> tuple[LlamaConfig, Params]:
  """Params: `word` [V, D], `blocks` with the matrices [in, out] of each layer, `last` [D],
  and `head` [V, D] where it is not `word`.

  Args:
    setting: where the folder was given, for errors.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  given = read_config(folder, setting=setting)
  kind = given.get("model_type")
  check(kind == "llama", "model_type of config.json", kind, "this reads 'llama' alone")
  check_numbers(given, _NUMBERS)
  for name in ("attention_bias", "mlp_bias"):
    on = given.get(name, False)
    check(not on, f"{name} of config.json", on, "this reads checkpoints without biases")
  act = given.get("hidden_act", "silu")
  check(act == "silu", "hidden_act of config.json", act, "this knows 'silu' alone")
  config = _config(given)
  params = _params(config, read_tensors(folder, "model."))
  return config, jax.tree.map(jnp.asarray, params)


def _config(given: dict[str, Any]) -> LlamaConfig:
  heads, width = given["num_attention_heads"], given["hidden_size"]
  most = given.get("max_position_embeddings", 2048)
  groups = given.get("num_key_value_heads") or heads
  remedy = f"it must divide num_attention_heads {heads}"
  whole = isinstance(groups, int) and groups > 0 and heads % groups == 0
  check(whole, "num_key_value_heads of config.json", groups, remedy)
  size = given.get("head_dim") or width // heads
  check_numbers({**given, "head_dim": size, "max_position_embeddings": most}, _OPTIONAL)
  check(size % 2 == 0, "head_dim of config.json", size, "rotary positions need an even one")
  rope = given.get("rope_parameters") or given.get("rope_scaling") or {}
  check(isinstance(rope, dict), "rope_parameters of config.json", rope, "give named values")
  return LlamaConfig(
    vocabulary=given["vocab_size"],
    width=width,
    hidden=given["intermediate_size"],
    layers=given["num_hidden_layers"],
    heads=heads,
    groups=groups,
    size=size,
    epsilon=number_of(given, "rms_norm_eps", 1e-6),
    theta=number_of({**given, **rope}, "rope_theta", 10000.0),
    stretched=_stretched(rope),
    most=most,
    tied=bool(given.get("tie_word_embeddings", False)),
  )


def _stretched(rope: dict[str, Any]) -> tuple[float, ...]:
  kind = rope.get("rope_type", rope.get("type", "default"))
  remedy = "this knows 'default' and 'llama3'"
  check(kind in ("default", "llama3"), "rope_type of config.json", kind, remedy)
  if kind == "default":
    return ()
  names = ("factor", "low_freq_factor", "high_freq_factor")
  names += ("original_max_position_embeddings",)
  return tuple(number_of(rope, name) for name in names)


def _params(config: LlamaConfig, tensors: Tensors) -> Params:
  blocks = []
  for n in range(config.layers):
    take = lambda name, *shape: tensors.take(f"layers.{n}.{name}.weight", *shape)  # noqa: B023, E731
    block = {own: take(name, config.width) for own, name in NORMS.items()}
    for own, (inputs, outputs) in config.shapes.items():
      block[own] = take(MATRICES[own], outputs, inputs).T
    blocks.append(block)
  words = (config.vocabulary, config.width)
  params = {
    "word": tensors.take("embed_tokens.weight", *words),
    "blocks": blocks,
    "last": tensors.take("norm.weight", config.width),
  }
  if not config.tied:
    params["head"] = tensors.take("lm_head.weight", *words)
  return params


def write_llama(
  folder: PathLike, config: LlamaConfig, params: Params, like: PathLike
) -> None:
  """A model with the settings and the tokenizer of another's folder, of which it has the
  sizes: in float16 if that has all its numbers, else in float32."""
  tensors = {"model.embed_tokens.weight": params["word"]}
  for n, block in enumerate(params["blocks"]):
    name = f"model.layers.{n}"
    tensors |= {f"{name}.{NORMS[own]}.weight": block[own] for own in NORMS}
    tensors |= {f"{name}.{MATRICES[own]}.weight": block[own].T for own in MATRICES}
  tensors["model.norm.weight"] = params["last"]
  if not config.tied:
    tensors["lm_head.weight"] = params["head"]
  given, place = files.as_path(like), files.as_path(folder)
  place.mkdir(parents=True, exist_ok=True)
  whole = {name: np.ascontiguousarray(np.asarray(x)) for name, x in tensors.items()}
  with np.errstate(over="ignore"):
    half = {name: x.astype(np.float16) for name, x in whole.items()}
  fits = all(np.array_equal(half[name], x) for name, x in whole.items())
  files.write_arrays(place / "model.safetensors", half if fits else whole)
  kind = "float16" if fits else "float32"
  told = read_config(like, setting="config.documents.base") | {"torch_dtype": kind}
  files.write_json(place / "config.json", told)
  files.write_bytes(place / "tokenizer.json", files.read_bytes(given / "tokenizer.json"))
