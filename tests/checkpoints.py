"""Small random checkpoints in the Hugging Face layout, for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mcdi_jax.lib import files

WIDTH, LAYERS = 8, 2
WORDS = ("one", "two", "three", "four")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def write_bert(folder: Path, *, kind: str = "bert", most: int = 40, **more: Any) -> Path:
  """BERT or RoBERTa, whose words are `WORDS`; always the same numbers."""
  rng = np.random.default_rng(0)
  first = 2 if kind == "roberta" else 0
  config = {
    "model_type": kind,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": most + first,
    "vocab_size": 8,
    "pad_token_id": first // 2,
  }
  normal = lambda *shape: (0.5 * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
  found = {}

  def layer(name: str, inputs: int, outputs: int) -> None:
    found[f"{name}.weight"] = normal(outputs, inputs)
    found[f"{name}.bias"] = normal(outputs)

  def norm(name: str) -> None:
    found[f"{name}.weight"], found[f"{name}.bias"] = 1 + normal(WIDTH), normal(WIDTH)

  for name, rows in (("word", 8), ("position", most + first), ("token_type", 2)):
    found[f"embeddings.{name}_embeddings.weight"] = normal(rows, WIDTH)
  found["embeddings.word_embeddings.weight"] *= 6  # what words are tells most
  norm("embeddings.LayerNorm")
  for n in range(LAYERS):
    name = f"encoder.layer.{n}"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
      layer(f"{name}.attention.{part}", WIDTH, WIDTH)
    layer(f"{name}.intermediate.dense", WIDTH, 12)
    layer(f"{name}.output.dense", 12, WIDTH)
    norm(f"{name}.attention.output.LayerNorm")
    norm(f"{name}.output.LayerNorm")
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps({**config, **more}))
  tensors = {f"{kind}.{name}": x for name, x in found.items()}
  files.write_arrays(files.as_path(folder) / "model.safetensors", tensors)
  write_tokenizer(folder)
  return folder


def write_tokenizer(folder: Path) -> None:
  """Of words between [CLS] and [SEP]."""
  vocabulary = {word: n for n, word in enumerate((*SPECIAL, *WORDS))}
  piece = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}  # noqa: E731
  single = [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")]
  ids = {
    name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in SPECIAL
  }
  content = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
      "type": "TemplateProcessing",
      "single": single,
      "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
      "special_tokens": {name: ids[name] for name in ("[CLS]", "[SEP]")},
    },
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
  }
  (folder / "tokenizer.json").write_text(json.dumps(content))


def write_llama(folder: Path, *, shards: int = 1, **more: Any) -> Path:
  """Llama of 16 words, two layers, four heads in two groups; always the same numbers."""
  rng = np.random.default_rng(1)
  config = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 12,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100.0,
    "tie_word_embeddings": False,
  }
  config |= more
  normal = lambda *shape: (0.5 * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
  queries, keys = 4 * config["head_dim"], 2 * config["head_dim"]
  found = {"model.embed_tokens.weight": normal(16, WIDTH)}
  found["model.norm.weight"] = 1 + normal(WIDTH)
  if not config["tie_word_embeddings"]:
    found["lm_head.weight"] = normal(16, WIDTH)
  for n in range(LAYERS):
    for name, *shape in (
      ("self_attn.q_proj", queries, WIDTH),
      ("self_attn.k_proj", keys, WIDTH),
      ("self_attn.v_proj", keys, WIDTH),
      ("self_attn.o_proj", WIDTH, queries),
      ("mlp.gate_proj", 12, WIDTH),
      ("mlp.up_proj", 12, WIDTH),
      ("mlp.down_proj", WIDTH, 12),
    ):
      found[f"model.layers.{n}.{name}.weight"] = normal(*shape)
    for name in ("input_layernorm", "post_attention_layernorm"):
      found[f"model.layers.{n}.{name}.weight"] = 1 + normal(WIDTH)
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps(config))
  place = files.as_path(folder)
  if shards == 1:
    files.write_arrays(place / "model.safetensors", found)
    return folder
  names = sorted(found)
  where = {name: f"model-{n % shards}.safetensors" for n, name in enumerate(names)}
  for file in set(where.values()):
    own = {name: found[name] for name in names if where[name] == file}
    files.write_arrays(place / file, own)
  index = json.dumps({"metadata": {}, "weight_map": where})
  (folder / "model.safetensors.index.json").write_text(index)
  return folder
