"""Llama-style language models. That they equal the library `transformers` was measured with
it (BUILD_NOTES.md); here they are held to an independent rewriting of the formulas."""

import json
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.networks.llama import (
  _by_matmuls,
  _fused,
  half_split,
  logits,
)
from mcdi_jax.networks.llama_checkpoint import read_llama
from mcdi_jax.networks.llama_checkpoint import write_llama as write_checkpoint
from tests.checkpoints import write_llama, write_tokenizer

LLAMA3 = {
  "rope_type": "llama3",
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 40,
  "rope_theta": 100.0,
}
IDS = np.random.default_rng(0).integers(0, 16, 9)


@pytest.mark.parametrize(
  "more",
  [{}, {"tie_word_embeddings": True}, {"rope_parameters": LLAMA3}],
  ids=["plain", "tied", "llama3"],
)
def test_logits_are_those_of_the_formulas(tmp_path: Path, more: dict):
  folder = write_llama(tmp_path / "m", **more)
  form, params = read_llama(folder)
  found = logits(form, params, jnp.asarray(IDS)[None])[0]
  np.testing.assert_allclose(found, _rewritten(folder, IDS), rtol=1e-4, atol=1e-4)


def _rewritten(folder: Path, ids: np.ndarray) -> np.ndarray:
  """In float64, head after head, each rotary pair as a complex number."""
  config = json.loads((folder / "config.json").read_text())
  arrays = files.read_arrays(files.as_path(folder) / "model.safetensors")
  t = {name: np.float64(x) for name, x in arrays.items()}
  size, half = config["head_dim"], config["head_dim"] // 2
  frequency = 100.0 ** (-np.arange(half) / half)
  if "rope_parameters" in config:
    changed = []
    for f in frequency:
      wave = 2 * np.pi / f
      if wave < 40 / 4:
        changed.append(f)
      elif wave > 40 / 1:
        changed.append(f / 8)
      else:
        smooth = (40 / wave - 1) / (4 - 1)
        changed.append((1 - smooth) * f / 8 + smooth * f)
    frequency = np.array(changed)
  turn = np.exp(1j * np.arange(len(ids))[:, None] * frequency)

  def norm(name: str, x: np.ndarray) -> np.ndarray:
    return t[f"{name}.weight"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)

  def rotated(x: np.ndarray) -> np.ndarray:
    z = (x[:, :half] + 1j * x[:, half:]) * turn
    return np.concatenate([z.real, z.imag], 1)

  x = t["model.embed_tokens.weight"][ids]
  for n in range(config["num_hidden_layers"]):
    p = f"model.layers.{n}"
    linear = lambda name, x, p=p: x @ t[f"{p}.{name}.weight"].T  # noqa: E731
    given, told = norm(f"{p}.input_layernorm", x), []
    q, k, v = (linear(f"self_attn.{name}_proj", given) for name in "qkv")
    for h in range(4):
      own = lambda part, h: part[:, h * size : (h + 1) * size]  # noqa: E731
      scores = rotated(own(q, h)) @ rotated(own(k, h // 2)).T / np.sqrt(size)
      scores = np.where(np.tri(len(ids)) > 0, np.exp(scores), 0)
      told.append(scores / scores.sum(1, keepdims=True) @ own(v, h // 2))
    x = x + linear("self_attn.o_proj", np.concatenate(told, 1))
    given = norm(f"{p}.post_attention_layernorm", x)
    gate = linear("mlp.gate_proj", given)
    x = x + linear(
      "mlp.down_proj", gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", given)
    )
  head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
  return norm("model.norm", x) @ head.T


def test_a_token_sees_those_before_it_alone(tmp_path: Path):
  form, params = read_llama(write_llama(tmp_path / "m"))
  changed = IDS.copy()
  changed[5] = (changed[5] + 1) % 16
  a, b = logits(form, params, jnp.asarray([IDS, changed]))
  np.testing.assert_allclose(a[:5], b[:5], atol=1e-6)
  assert all(float(abs(a[n] - b[n]).max()) > 1e-3 for n in range(5, 9))


def test_shards_are_one_checkpoint(tmp_path: Path):
  one = read_llama(write_llama(tmp_path / "one"))
  several = read_llama(write_llama(tmp_path / "several", shards=3))
  assert one[0] == several[0]
  for a, b in zip(*map(jax.tree.leaves, (one[1], several[1])), strict=True):
    np.testing.assert_array_equal(a, b)
  (tmp_path / "several" / "model-1.safetensors").unlink()
  with pytest.raises(MissingError, match=r"model-1\.safetensors: bring the whole"):
    read_llama(tmp_path / "several")


def test_a_checkpoint_that_the_memory_cannot_hold_is_not_read(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Whether it is one file or several; what is free is told."""
  size = (write_llama(tmp_path / "one") / "model.safetensors").stat().st_size
  free = types.SimpleNamespace(available=2 * size - 1)
  with monkeypatch.context() as patch:
    patch.setattr("psutil.virtual_memory", lambda: free)
    patch.setattr("mcdi_jax.lib.files.read_bytes", _only_json)
    for folder in (tmp_path / "one", write_llama(tmp_path / "several", shards=3)):
      with pytest.raises(InputError, match=r"at least twice .* GiB are free"):
        read_llama(folder)
  read_llama(tmp_path / "one")


def _only_json(path: Path) -> bytes:
  assert path.suffix == ".json"
  return Path(path).read_bytes()


def test_pairs_side_by_side_turn_as_halves_do():
  """Queries and keys with rows in either order have the same products at all places."""
  rng = np.random.default_rng(0)
  size, angle = 6, np.array([0.3, 1.1, 2.5])
  x, matrix = rng.normal(size=7), rng.normal(size=(12, 7))
  split = half_split(matrix, size)
  np.testing.assert_array_equal(half_split(split, size, back=True), matrix)
  assert not np.array_equal(split, matrix)
  for h in range(2):
    own = slice(h * size, (h + 1) * size)
    pairs = (matrix @ x)[own].reshape(-1, 2) @ [1, 1j] * np.exp(1j * angle)
    first, second = np.split((split @ x)[own], 2)
    np.testing.assert_allclose((first + 1j * second) * np.exp(1j * angle), pairs)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model_type": "gpt2"}, "model_type of config.json is 'gpt2'"),
    ({"num_hidden_layers": 0}, "num_hidden_layers of config.json is 0"),
    ({"num_key_value_heads": 3}, "it must divide num_attention_heads 4"),
    ({"attention_bias": True}, "without biases"),
    ({"hidden_act": "gelu"}, "this knows 'silu' alone"),
    ({"rope_scaling": {"type": "yarn"}}, "this knows 'default' and 'llama3'"),
    ({"vocab_size": 17}, r"has shape \(16, 8\), this network needs \(17, 8\)"),
    ({"num_hidden_layers": 3}, "has no tensor 'layers.2.input_layernorm.weight'"),
    ({"head_dim": 3}, "rotary positions need an even one"),
    ({"head_dim": "8"}, "head_dim of config.json is '8': a positive whole number"),
    ({"max_position_embeddings": 1.5}, "max_position_embeddings of config.json is 1.5"),
    ({"rope_theta": "abc"}, "rope_theta of config.json is 'abc': a positive number"),
    ({"rope_scaling": {"rope_type": "llama3"}}, "^factor of config.json is None"),
    ({"rope_scaling": 3}, "rope_parameters of config.json is 3: give named values"),
  ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, changes: dict, message: str):
  folder = write_llama(tmp_path / "m")
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**config, **changes}))
  with pytest.raises(InputError, match=message):
    read_llama(folder)


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("model.safetensors", b"", "damaged: bring the checkpoint's own, whole"),
    ("model.safetensors.index.json", b'{"weight_map": 3}', "lists no shards"),
    ("model.safetensors.index.json", b"[[", "lists no shards"),
  ],
)
def test_a_damaged_checkpoint_is_told(
  tmp_path: Path, name: str, content: bytes, message: str
):
  """It is the user's own: nothing makes it again."""
  folder = write_llama(tmp_path / "m")
  (folder / "model.safetensors").unlink()
  (folder / name).write_bytes(content)
  with pytest.raises(InputError, match=message):
    read_llama(folder)


def test_attention_is_the_same_by_either_program():
  """That of CPU and that of other platforms, and their gradients."""
  rng = np.random.default_rng(0)
  q, k, v = (jnp.float32(rng.normal(size=(2, 7, h, 4))) for h in (4, 2, 2))
  seen = jnp.tri(7, dtype=bool)
  both = []
  for program in (_fused, _by_matmuls):
    total = lambda q, k, v, f=program: jnp.sum(f(q, k, v, seen) ** 2)  # noqa: E731
    both.append((program(q, k, v, seen), *jax.grad(total, (0, 1, 2))(q, k, v)))
  for a, b in zip(*both, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_what_is_written_is_read_back_to_the_last_bit(
  tmp_path: Path, tied: bool, half: bool
):
  """In half precision where that is enough."""
  given = write_llama(tmp_path / "given", tie_word_embeddings=tied)
  write_tokenizer(given)
  form, params = read_llama(given)
  if half:
    params = jax.tree.map(lambda leaf: jnp.float32(jnp.float16(leaf)), params)
  write_checkpoint(tmp_path / "out", form, params, given)
  again, found = read_llama(tmp_path / "out")
  assert again == form
  jax.tree.map(np.testing.assert_array_equal, found, params)
  tensors = files.read_arrays(files.as_path(tmp_path) / "out" / "model.safetensors")
  assert {x.dtype for x in tensors.values()} == {np.dtype("f2" if half else "f4")}
  tokenizers = [(tmp_path / n / "tokenizer.json").read_bytes() for n in ("out", "given")]
  assert tokenizers[0] == tokenizers[1]
