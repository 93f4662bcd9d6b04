"""Sentence encoders. That they equal the library `transformers` on MiniLM-L6 and on small
random checkpoints was measured with it (BUILD_NOTES.md); here they are held to an
independent rewriting of the formulas."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from mcdi_jax.data.tokenizer import filled
from mcdi_jax.encoders import TEXT_ENCODERS
from mcdi_jax.encoders.bert import hidden_states, read_bert
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.pipeline.embedding import Embedder, open_encoder
from tests.checkpoints import WORDS, write_bert

IDS = [np.array([4, 5, 6, 7, 4]), np.array([7, 5])]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
  return write_bert(tmp_path_factory.mktemp("b") / "c", kind=request.param)


def test_hidden_states_are_those_of_the_formulas(checkpoint: Path):
  form, params = read_bert(checkpoint, setting="--encoder_weights")
  found = hidden_states(form, params, *map(jnp.asarray, filled(IDS, 5)))
  tensors = files.read_arrays(files.as_path(checkpoint) / "model.safetensors")
  config = json.loads((checkpoint / "config.json").read_text())
  for n, ids in enumerate(IDS):
    expected = _rewritten(config, tensors, ids)
    np.testing.assert_allclose(found[n, : len(ids)], expected, rtol=1e-4, atol=1e-4)


def _rewritten(config: dict, tensors: dict, ids: np.ndarray) -> np.ndarray:
  """One text in float64, as Devlin et al. have it, head after head."""
  prefix = config["model_type"] + "."
  t = {name.removeprefix(prefix): np.float64(x) for name, x in tensors.items()}

  def linear(name: str, x: np.ndarray) -> np.ndarray:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

  def norm(name: str, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * t[f"{name}.weight"] + t[f"{name}.bias"]

  first = 0 if config["model_type"] == "bert" else config["pad_token_id"] + 1
  table = lambda name: t[f"embeddings.{name}_embeddings.weight"]  # noqa: E731
  x = table("word")[ids] + table("position")[first + np.arange(len(ids))]
  x = norm("embeddings.LayerNorm", x + table("token_type")[0])
  heads = config["num_attention_heads"]
  for n in range(config["num_hidden_layers"]):
    name = f"encoder.layer.{n}"
    parts = ("query", "key", "value")
    q, k, v = (linear(f"{name}.attention.self.{p}", x) for p in parts)
    told = []
    for own in zip(*(np.split(part, heads, 1) for part in (q, k, v)), strict=True):
      scores = np.exp(own[0] @ own[1].T / np.sqrt(own[0].shape[1]))
      told.append(scores / scores.sum(1, keepdims=True) @ own[2])
    out = linear(f"{name}.attention.output.dense", np.concatenate(told, 1))
    x = norm(f"{name}.attention.output.LayerNorm", x + out)
    hidden = linear(f"{name}.intermediate.dense", x)
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    x = norm(f"{name}.output.LayerNorm", x + linear(f"{name}.output.dense", hidden))
  return x


def test_a_texts_features_do_not_depend_on_the_others(checkpoint: Path):
  """The mean of its own tokens: neither what fills it up, nor how long others are."""
  embedding = open_encoder("bert", checkpoint)
  texts = ["two", " ".join(WORDS * 3), "one three"]
  found = Embedder(embedding)(texts)
  for n, text in enumerate(texts):
    np.testing.assert_allclose(Embedder(embedding)([text])[0], found[n], atol=1e-6)
  encoder = embedding.encoder
  form, params = read_bert(checkpoint, setting="--encoder_weights")
  (row,) = encoder.tokenizer(["one three"])
  states = hidden_states(form, params, *map(jnp.asarray, filled([row], len(row))))
  np.testing.assert_allclose(found[2], states[0].mean(0), rtol=1e-4, atol=1e-4)
  assert np.linalg.norm(found[0] - found[2]) > 0.1


def test_a_long_text_is_cut_and_that_is_said(tmp_path: Path, capsys: Any):
  embedding = open_encoder("bert", write_bert(tmp_path / "c", most=6))
  long = Embedder(embedding)(["one two three four one two", "one"])
  assert "1 of 2 texts are longer than 6 tokens" in capsys.readouterr().out
  np.testing.assert_allclose(long[:1], Embedder(embedding)(["one two three four"]))


def test_another_network_tokenizer_or_checkpoint_has_another_name(tmp_path: Path):
  """And what does not fit is told."""
  name = lambda place: open_encoder("bert", place).name  # noqa: E731
  plain = name(write_bert(tmp_path / "a"))
  assert plain == name(write_bert(tmp_path / "b"))
  assert plain != name(write_bert(tmp_path / "c", num_attention_heads=1))
  folder = write_bert(tmp_path / "d")
  content = (folder / "tokenizer.json").read_text()
  (folder / "tokenizer.json").write_text(content.replace('"two"', '"2"'))
  assert plain != name(folder)
  (folder / "tokenizer.json").write_text("{}")
  with pytest.raises(DamagedError, match="is no tokenizer"):
    name(folder)
  (folder / "tokenizer.json").unlink()
  with pytest.raises(MissingError, match="bring the one that the checkpoint came with"):
    name(folder)
  for key, value, message in (
    ("model_type", "gpt2", r"model_type of config.json is 'gpt2'"),
    ("hidden_size", 9, "it must divide hidden_size 9"),
    ("hidden_act", "relu6", "hidden_act of config.json"),
    ("position_embedding_type", "relative_key", "absolute positions"),
    ("vocab_size", 11, r"has shape \(8, 8\), this network needs \(11, 8\)"),
  ):
    folder = write_bert(tmp_path / key)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(InputError, match=message):
      TEXT_ENCODERS["bert"](folder)
  with pytest.raises(InputError, match="reads texts, leave it out"):
    open_encoder("bert", tmp_path / "a", 32)
