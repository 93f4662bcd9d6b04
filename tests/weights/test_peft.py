"""Adapters in the layout of `peft`. That `peft` itself loads them, with the same logits,
was measured with it (BUILD_NOTES.md)."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.networks.llama_checkpoint import read_llama
from mcdi_jax.weights.lora import init_adapters, merge_adapters
from mcdi_jax.weights.peft import is_made_here, read_peft, write_peft
from tests.checkpoints import write_llama

KEY = jax.random.key(0)


def _adapters(base: dict) -> dict:
  made = init_adapters(KEY, base, "blocks/*/[qvd]*", 2)
  return {
    **made,
    "b": jax.tree.map(lambda x: x + jnp.arange(x.size).reshape(x.shape), made["b"]),
  }


def test_what_is_written_is_read_with_its_scale(tmp_path: Path):
  _, base = read_llama(write_llama(tmp_path / "m"))
  made = _adapters(base)
  write_peft(tmp_path / "a", made["a"], made["b"], base="somewhere")
  a, b = read_peft(tmp_path / "a")
  for found, expected in ((a, made["a"]), (b, made["b"])):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
  place = tmp_path / "a" / "adapter_config.json"
  config = json.loads(place.read_text())
  assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
  place.write_text(json.dumps({**config, "lora_alpha": 6}))
  _, scaled = read_peft(tmp_path / "a")
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, 3 * y), scaled, made["b"])


def test_merged_it_is_the_base_and_b_times_a(tmp_path: Path):
  """In the orientation of checkpoints: W [out, in] + B A."""
  folder = write_llama(tmp_path / "m")
  _, base = read_llama(folder)
  made = _adapters(base)
  write_peft(tmp_path / "a", made["a"], made["b"])
  whole = merge_adapters({"base": base, **made})
  tensors = files.read_arrays(files.as_path(folder) / "model.safetensors")
  adapter = files.read_arrays(files.as_path(tmp_path) / "a" / "adapter_model.safetensors")
  for own, name in (("q", "self_attn.q_proj"), ("down", "mlp.down_proj")):
    place = f"model.layers.1.{name}"
    low = [adapter[f"base_model.model.{place}.lora_{x}.weight"] for x in "BA"]
    expected = tensors[f"{place}.weight"] + low[0] @ low[1]
    np.testing.assert_allclose(whole["blocks"][1][own].T, expected, rtol=1e-5)


def test_an_adapter_of_another_tool_is_told_from_ours(tmp_path: Path):
  _, base = read_llama(write_llama(tmp_path / "m"))
  made, place = _adapters(base), files.as_path(tmp_path) / "a"
  assert not is_made_here(place)
  write_peft(place, made["a"], made["b"])
  assert is_made_here(place)
  path = place / "adapter_model.safetensors"
  files.write_arrays(path, files.read_arrays(path), {"format": "pt"})
  assert not is_made_here(place)


def test_what_is_no_such_adapter_is_told(tmp_path: Path):
  with pytest.raises(MissingError, match="give a folder that peft wrote"):
    read_peft(tmp_path)
  _, base = read_llama(write_llama(tmp_path / "m"))
  made = _adapters(base)
  write_peft(tmp_path / "a", made["a"], made["b"])
  place = tmp_path / "a" / "adapter_config.json"
  config = json.loads(place.read_text())
  for change, said in (
    ({"peft_type": "IA3"}, "this reads 'LORA' alone"),
    ({"use_dora": True}, "this reads adapters without it"),
    ({"alpha_pattern": {"q_proj": 2}}, "this reads adapters without it"),
    ({"bias": "all"}, "this reads adapters without biases"),
  ):
    place.write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match=said):
      read_peft(tmp_path / "a")
  place.write_text(json.dumps(config))
  files.write_arrays(
    files.as_path(tmp_path) / "a" / "adapter_model.safetensors",
    {
      "base_model.model.model.layers.0.mlp.c_fc.lora_A.weight": np.zeros((2, 3), np.float32)
    },
  )
  with pytest.raises(InputError, match="a Llama has no such matrix"):
    read_peft(tmp_path / "a")
  del config["lora_alpha"]
  place.write_text(json.dumps(config))
  with pytest.raises(InputError, match="lora_alpha"):
    read_peft(tmp_path / "a")
  with pytest.raises(InputError, match="leaf word is no matrix of a block"):
    write_peft(tmp_path / "w", {"word": np.ones((5, 1))}, {"word": np.ones((1, 3))})
