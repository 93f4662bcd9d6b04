"""Vision transformers. That they equal the library `transformers` at two sizes was measured
with it (BUILD_NOTES.md); here they are held to an independent rewriting of the formulas."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from mcdi_jax.encoders import ENCODERS
from mcdi_jax.encoders.vision_transformer import bicubic_matrix
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError

RNG = np.random.default_rng(0)
REFERENCE = [
  [-0.099216, -0.099216],
  [0.402241, 0.279245],
  [0.988976, 0.896592],
  [0.59375, 1.5],
  [-0.046192, 2.103409],
  [-0.061498, 2.720754],
  [0.0, 3.099216],
]
WIDTH, HEADS, LAYERS, PATCH, IMAGE = 8, 2, 2, 3, 6
CONFIG = {
  "hidden_size": WIDTH,
  "num_attention_heads": HEADS,
  "num_hidden_layers": LAYERS,
  "patch_size": PATCH,
  "image_size": IMAGE,
}


def _normal(*shape: int) -> np.ndarray:
  return (0.5 * RNG.normal(size=shape)).astype(np.float32)


def _layer(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
  return {f"{name}.weight": _normal(outputs, inputs), f"{name}.bias": _normal(outputs)}


def _norm(name: str) -> dict[str, np.ndarray]:
  return {f"{name}.weight": 1 + _normal(WIDTH), f"{name}.bias": _normal(WIDTH)}


def _dinov2() -> dict[str, np.ndarray]:
  found = {
    "embeddings.cls_token": _normal(1, 1, WIDTH),
    "embeddings.position_embeddings": _normal(1, 5, WIDTH),
    "embeddings.patch_embeddings.projection.weight": _normal(WIDTH, 3, PATCH, PATCH),
    "embeddings.patch_embeddings.projection.bias": _normal(WIDTH),
    **_norm("layernorm"),
  }
  for n in range(LAYERS):
    name = f"encoder.layer.{n}"
    for part in ("query", "key", "value"):
      found |= _layer(f"{name}.attention.attention.{part}", WIDTH, WIDTH)
    found |= _layer(f"{name}.attention.output.dense", WIDTH, WIDTH)
    found |= _layer(f"{name}.mlp.fc1", WIDTH, 4 * WIDTH)
    found |= _layer(f"{name}.mlp.fc2", 4 * WIDTH, WIDTH)
    found |= _norm(f"{name}.norm1") | _norm(f"{name}.norm2")
    found[f"{name}.layer_scale1.lambda1"] = _normal(WIDTH)
    found[f"{name}.layer_scale2.lambda1"] = _normal(WIDTH)
  return found


def _clip(projection: bool) -> dict[str, np.ndarray]:
  found = {
    "embeddings.class_embedding": _normal(WIDTH),
    "embeddings.patch_embedding.weight": _normal(WIDTH, 3, PATCH, PATCH),
    "embeddings.position_embedding.weight": _normal(5, WIDTH),
    **_norm("pre_layrnorm"),
    **_norm("post_layernorm"),
  }
  for n in range(LAYERS):
    name = f"encoder.layers.{n}"
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
      found |= _layer(f"{name}.self_attn.{part}", WIDTH, WIDTH)
    found |= _layer(f"{name}.mlp.fc1", WIDTH, 4 * WIDTH)
    found |= _layer(f"{name}.mlp.fc2", 4 * WIDTH, WIDTH)
    found |= _norm(f"{name}.layer_norm1") | _norm(f"{name}.layer_norm2")
  found = {f"vision_model.{name}": leaf for name, leaf in found.items()}
  return found | ({"visual_projection.weight": _normal(5, WIDTH)} if projection else {})


def _saved(folder: Path, tensors: dict[str, np.ndarray], **config: Any) -> Path:
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
  files.write_arrays(files.as_path(folder / "model.safetensors"), tensors)
  return folder


def _expected(tensors: dict[str, np.ndarray], image: np.ndarray, kind: str) -> np.ndarray:
  """Of one image of the checkpoint's own size, token by token and head by head."""
  t = {name.removeprefix("vision_model."): leaf for name, leaf in tensors.items()}
  clip = kind == "clip"
  epsilon = 1e-5 if clip else 1e-6

  def affine(name: str, x: np.ndarray) -> np.ndarray:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

  def norm(name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return (
      centred / np.sqrt(x.var(-1, keepdims=True) + epsilon) * t[f"{name}.weight"]
      + t[f"{name}.bias"]
    )

  def active(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-1.702 * x)) if clip else x * (1 + erf(x / 2**0.5)) / 2

  patch = "embeddings.patch_embedding" + ("" if clip else "s.projection")
  tokens = [t["embeddings.class_embedding" if clip else "embeddings.cls_token"].reshape(-1)]
  for i in range(0, IMAGE, PATCH):
    for j in range(0, IMAGE, PATCH):
      part = image[i : i + PATCH, j : j + PATCH]
      tokens.append(np.einsum("dchw,hwc->d", t[f"{patch}.weight"], part))
      tokens[-1] = tokens[-1] + t.get(f"{patch}.bias", 0)
  place = "position_embedding.weight" if clip else "position_embeddings"
  x = np.stack(tokens) + t[f"embeddings.{place}"].reshape(-1, WIDTH)
  x = norm("pre_layrnorm", x) if clip else x
  for n in range(LAYERS):
    name = f"encoder.layers.{n}" if clip else f"encoder.layer.{n}"
    inner = f"{name}.self_attn" if clip else f"{name}.attention.attention"
    parts = ("q_proj", "k_proj", "v_proj") if clip else ("query", "key", "value")
    given = norm(f"{name}.layer_norm1" if clip else f"{name}.norm1", x)
    q, k, v = (affine(f"{inner}.{part}", given) for part in parts)
    heads = []
    for h in np.split(np.arange(WIDTH), HEADS):
      logits = q[:, h] @ k[:, h].T / len(h) ** 0.5
      weights = np.exp(logits - logits.max(1, keepdims=True))
      heads.append(weights / weights.sum(1, keepdims=True) @ v[:, h])
    out = f"{inner}.out_proj" if clip else f"{name}.attention.output.dense"
    x = x + affine(out, np.concatenate(heads, 1)) * t.get(f"{name}.layer_scale1.lambda1", 1)
    given = norm(f"{name}.layer_norm2" if clip else f"{name}.norm2", x)
    told = affine(f"{name}.mlp.fc2", active(affine(f"{name}.mlp.fc1", given)))
    x = x + told * t.get(f"{name}.layer_scale2.lambda1", 1)
  pooled = norm("post_layernorm" if clip else "layernorm", x[0])
  return (
    pooled @ t["visual_projection.weight"].T if "visual_projection.weight" in t else pooled
  )


@pytest.mark.parametrize("kind", ["dinov2", "clip", "clip with projection"])
def test_features_are_those_of_the_formulas(tmp_path: Path, kind: str):
  name = kind.split()[0]
  tensors = _dinov2() if name == "dinov2" else _clip("projection" in kind)
  folder = _saved(tmp_path / "net", tensors, intermediate_size=4 * WIDTH)
  encoder = ENCODERS[name](folder)
  images = jnp.asarray(RNG.normal(size=(3, IMAGE, IMAGE, 3)), jnp.float32)
  found = np.asarray(encoder.apply(encoder.params, images))
  expected = np.stack([_expected(tensors, np.asarray(image), name) for image in images])
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_pixels_beyond_the_last_whole_patch_change_nothing(tmp_path: Path):
  """At another size than the checkpoint's own."""
  encoder = ENCODERS["dinov2"](_saved(tmp_path / "net", _dinov2()))
  image = jnp.asarray(RNG.normal(size=(1, 9, 11, 3)), jnp.float32)
  found = encoder.apply(encoder.params, image)
  cut = encoder.apply(encoder.params, image[:, :, :9])
  assert found.shape == (1, WIDTH)
  np.testing.assert_array_equal(np.asarray(found), np.asarray(cut))


def test_bicubic_weights_are_the_references():
  """Values that torch.nn.functional.interpolate(x, 7, mode="bicubic") gives for the ramp
  and the impulse; the same size changes nothing."""
  np.testing.assert_allclose(bicubic_matrix(5, 5), np.eye(5), atol=1e-7)
  found = bicubic_matrix(4, 7) @ np.array([[0, 1, 0, 0], [0, 1, 2, 3]], np.float32).T
  np.testing.assert_allclose(found, REFERENCE, atol=1e-5)


def test_other_checkpoints_are_told(tmp_path: Path):
  with pytest.raises(MissingError, match="config.json: name the folder of"):
    ENCODERS["dinov2"](tmp_path)
  tensors = _dinov2()
  with pytest.raises(InputError, match="model_type of .* is 'dinov2_with_registers'"):
    ENCODERS["dinov2"](_saved(tmp_path / "r", tensors, model_type="dinov2_with_registers"))
  with pytest.raises(InputError, match=r"patch_size of .* is \[3, 3\]"):
    ENCODERS["dinov2"](_saved(tmp_path / "p", tensors, patch_size=[3, 3]))
  with pytest.raises(InputError, match="num_attention_heads of config.json is 3"):
    ENCODERS["dinov2"](_saved(tmp_path / "h", tensors, num_attention_heads=3))
  gated = _saved(tmp_path / "gated", tensors, use_swiglu_ffn=True)
  with pytest.raises(InputError, match="use_swiglu_ffn"):
    ENCODERS["dinov2"](gated)
  wide = _saved(tmp_path / "wide", tensors, hidden_size=10)
  with pytest.raises(InputError, match=r"norm1.weight in wide/model.safetensors has shape"):
    ENCODERS["dinov2"](wide)
  with pytest.raises(InputError, match="has no tensor 'encoder.layers.0"):
    ENCODERS["clip"](_saved(tmp_path / "net", tensors, intermediate_size=4 * WIDTH))
