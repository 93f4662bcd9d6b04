"""The story model as a folder in the Hugging Face layout, from the arrays of llama2.c.

  python tests/story_model.py stories260k.npz OUT

Its q and k have rotary pairs side by side; its tokenizer joins, of all neighbours, those
whose token has the best score, which is what ranked merges do.
"""

import itertools
import json
import sys

import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.networks.llama import MATRICES, half_split

_PLACES = {"wq": "q", "wk": "k", "wv": "v", "wo": "o", "w1": "gate", "w2": "down"}
_NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def convert(source: str, out: str) -> None:
  arrays, folder = dict(np.load(source)), files.as_path(out)
  folder.mkdir(parents=True, exist_ok=True)
  given = json.loads(str(arrays["config"]))
  tensors = {
    "model.embed_tokens.weight": arrays["tok_embeddings"],
    "model.norm.weight": arrays["final_norm"],
  }
  size = given["dim"] // given["n_heads"]
  for name, own in (_PLACES | {"w3": "up"}).items():
    for n, matrix in enumerate(arrays[name]):
      matrix = half_split(matrix, size) if own in "qk" else matrix
      tensors[f"model.layers.{n}.{MATRICES[own]}.weight"] = matrix
  for name, own in _NORMS.items():
    for n, gain in enumerate(arrays[name]):
      tensors[f"model.layers.{n}.{own}.weight"] = gain
  half = {name: x.astype(np.float16) for name, x in tensors.items()}
  files.write_arrays(folder / "model.safetensors", half)
  config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": given["dim"],
    "intermediate_size": given["hidden_dim"],
    "num_hidden_layers": given["n_layers"],
    "num_attention_heads": given["n_heads"],
    "num_key_value_heads": given["n_kv_heads"],
    "vocab_size": given["vocab_size"],
    "max_position_embeddings": given["seq_len"],
    "rope_theta": given["rope_theta"],
    "rms_norm_eps": given["norm_eps"],
    "tie_word_embeddings": given["tied_embeddings"],
    "hidden_act": "silu",
    "bos_token_id": given["bos"],
    "eos_token_id": given["eos"],
    "torch_dtype": "float16",
  }
  (folder / "config.json").write_text(json.dumps(config, indent=2))
  tokenizer = _tokenizer(_words(arrays), arrays["vocab_scores"], given["bos"])
  (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))


def _words(arrays: dict[str, np.ndarray]) -> list[str]:
  content, ends = arrays["vocab_bytes"].tobytes(), arrays["vocab_offsets"]
  return [content[a:b].decode(errors="replace") for a, b in itertools.pairwise(ends)]


def _tokenizer(words: list[str], scores: np.ndarray, bos: int) -> dict:
  """Space is ▁ in this layout, as in that of sentencepiece; what is no token is bytes."""
  words = [w if w.startswith("<") else w.replace(" ", "▁") for w in words]
  vocabulary = {word: n for n, word in enumerate(words)}
  merges = [
    (-scores[n], len(word[:cut]), [word[:cut], word[cut:]])
    for n, word in enumerate(words)
    for cut in range(1, len(word))
    if word[:cut] in vocabulary and word[cut:] in vocabulary and not word.startswith("<")
  ]
  begin = words[bos]
  return {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": {
      "type": "Sequence",
      "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
      ],
    },
    "pre_tokenizer": None,
    "post_processor": {
      "type": "TemplateProcessing",
      "single": [
        {"SpecialToken": {"id": begin, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
      ],
      "pair": [
        {"SpecialToken": {"id": begin, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 0}},
      ],
      "special_tokens": {begin: {"id": begin, "ids": [bos], "tokens": [begin]}},
    },
    "decoder": {
      "type": "Sequence",
      "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
      ],
    },
    "model": {
      "type": "BPE",
      "dropout": None,
      "unk_token": words[0],
      "continuing_subword_prefix": None,
      "end_of_word_suffix": None,
      "fuse_unk": True,
      "byte_fallback": True,
      "vocab": vocabulary,
      "merges": [pair for *_, pair in sorted(merges, key=lambda m: m[:2])],
    },
  }


if __name__ == "__main__":
  convert(*sys.argv[1:])
