"""Weights come back from disk to the last bit, or not at all."""

from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mcdi_jax
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError


def _params(seed: int = 0, *lead: int) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  return {
    "head": {
      "kernel": jnp.asarray(rng.normal(size=(*lead, 4, 3)), jnp.float32),
      "bias": jnp.asarray(rng.normal(size=(*lead, 3)), jnp.float16),
    },
    "steps": jnp.full((*lead, 2), 7, jnp.int32),
  }


def test_weights_survive_exactly(tmp_path: Path):
  params = _params()
  mcdi_jax.save_weights(tmp_path / "w.safetensors", params)
  found = mcdi_jax.load_weights(tmp_path / "w.safetensors")
  chex.assert_trees_all_equal(found, params, strict=True)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_a_second_file_replaces_the_first(tmp_path: Path):
  for seed in (0, 1):
    mcdi_jax.save_weights(tmp_path / "w", _params(seed))
  chex.assert_trees_all_equal(mcdi_jax.load_weights(tmp_path / "w"), _params(1))


def test_what_safetensors_cannot_hold_is_named(tmp_path: Path):
  for leaf, said in ((jnp.zeros(2, jnp.bfloat16), "bfloat16"), (None, "NoneType")):
    with pytest.raises(InputError, match=rf"head/bias is {said}: cast it"):
      mcdi_jax.save_weights(tmp_path / "w", {"head": {"bias": leaf}})
  assert not list(tmp_path.iterdir())


def test_weights_that_are_not_there_or_damaged(tmp_path: Path):
  path = tmp_path / "w"
  with pytest.raises(MissingError, match="there is no"):
    mcdi_jax.load_weights(path)
  mcdi_jax.save_weights(path, _params())
  path.write_bytes(path.read_bytes()[:-3])
  with pytest.raises(DamagedError, match="damaged"):
    mcdi_jax.load_weights(path)


def test_a_distribution_survives_exactly(tmp_path: Path):
  samples, manifest = _params(2, 8), {"temperature": 0.5, "keys": [1, 2]}
  mcdi_jax.save_distribution(tmp_path / "d", _params(3, 5))
  mcdi_jax.save_distribution(tmp_path / "d", samples, manifest)
  found, said = mcdi_jax.load_distribution(tmp_path / "d")
  chex.assert_trees_all_equal(found, samples, strict=True)
  assert said == manifest


def test_samples_must_be_stacked(tmp_path: Path):
  samples = {"a": jnp.zeros((8, 2)), "b": jnp.zeros((7, 2))}
  with pytest.raises(InputError, match=r"leading axes \['7', '8'\].*stacked"):
    mcdi_jax.save_distribution(tmp_path / "d", samples)


def test_a_damaged_distribution_is_refused(tmp_path: Path):
  with pytest.raises(MissingError):
    mcdi_jax.load_distribution(tmp_path / "d")
  mcdi_jax.save_distribution(tmp_path / "d", _params(2, 8))
  data = max((tmp_path / "d").rglob("d/*"), key=lambda f: f.stat().st_size)
  content = bytearray(data.read_bytes())
  content[len(content) // 2] ^= 1
  data.write_bytes(content)
  with pytest.raises(DamagedError, match="damaged"):
    mcdi_jax.load_distribution(tmp_path / "d")
