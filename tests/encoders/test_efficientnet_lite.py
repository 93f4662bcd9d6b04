"""EfficientNet-Lite0: its form, and the folding of its normalisation. That its features are
those of the same network in PyTorch was measured with it (BUILD_NOTES.md)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.encoders import efficientnet_lite
from mcdi_jax.encoders.efficientnet_lite import (
  depthwise_by_library,
  depthwise_by_slices,
  efficientnet_lite0,
)
from mcdi_jax.encoders.encoder import Encoder, features_of, square
from mcdi_jax.lib.errors import InputError

RNG = np.random.default_rng(0)
NORM = ("weight", "bias", "running_mean", "running_var")


def _checkpoint() -> dict[str, np.ndarray]:
  """Random numbers, in the names and shapes of the file that people have."""
  found: dict[str, np.ndarray] = {}

  def layer(conv: str, norm: str, *shape: int) -> None:
    found[f"{conv}.weight"] = RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    for name in NORM:
      found[f"{norm}.{name}"] = RNG.uniform(0.5, 1.5, shape[0])

  layer("_conv_stem", "_bn0", 32, 3, 3, 3)
  channels, number = 32, 0
  for blocks, kernel, expansion, out in (
    (1, 3, 1, 16),
    (2, 3, 6, 24),
    (2, 5, 6, 40),
    (3, 3, 6, 80),
    (3, 5, 6, 112),
    (4, 5, 6, 192),
    (1, 3, 6, 320),
  ):
    for _ in range(blocks):
      name, inner = f"_blocks.{number}", channels * expansion
      if expansion > 1:
        layer(f"{name}._expand_conv", f"{name}._bn0", inner, channels, 1, 1)
      layer(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, kernel, kernel)
      layer(f"{name}._project_conv", f"{name}._bn2", out, inner, 1, 1)
      channels, number = out, number + 1
  layer("_conv_head", "_bn1", 1280, 320, 1, 1)
  return {name: leaf.astype(np.float32) for name, leaf in found.items()}


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, np.ndarray]:
  return _checkpoint()


def test_the_normalisation_is_folded_in(
  checkpoint: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
):
  """The stem of a random checkpoint, as its formula has it."""
  monkeypatch.setattr(efficientnet_lite, "read_torch", lambda _: checkpoint)
  encoder = efficientnet_lite0("x.pth")
  x = jnp.asarray(RNG.normal(size=(1, 6, 6, 3)), jnp.float32)
  numbers = ("NHWC", "OIHW", "NHWC")
  plain = jax.lax.conv_general_dilated(
    x, checkpoint["_conv_stem.weight"], (2, 2), "SAME", dimension_numbers=numbers
  )
  gain, bias, mean, var = (checkpoint[f"_bn0.{name}"] for name in NORM)
  expected = (plain - mean) / np.sqrt(var + 1e-3) * gain + bias
  folded = efficientnet_lite._full(encoder.params["stem"], x, 2)
  np.testing.assert_allclose(folded, expected, rtol=1e-4, atol=1e-4)
  features = encoder.apply(encoder.params, jnp.zeros((2, 32, 32, 3)))
  assert features.shape == (2, 1280) and np.isfinite(features).all()


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(6, 6), (7, 8), (5, 3)])
def test_slices_are_the_librarys_convolution(size: int, stride: int, shape: tuple):
  x = jnp.asarray(RNG.normal(size=(2, *shape, 4)), jnp.float32)
  kernel = jnp.asarray(RNG.normal(size=(size, size, 1, 4)), jnp.float32)
  found = depthwise_by_slices(x, kernel, stride=stride)
  expected = depthwise_by_library(x, kernel, stride=stride)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_file_of_another_network_is_told(
  checkpoint: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
):
  name = "_blocks.3._project_conv.weight"
  for content, message in (
    ({**checkpoint, name: checkpoint[name][:5]}, f"{name} in x.pth has shape"),
    ({n: x for n, x in checkpoint.items() if n != name}, f"has no tensor '{name}'"),
  ):
    monkeypatch.setattr(efficientnet_lite, "read_torch", lambda _, c=content: c)
    with pytest.raises(InputError, match=message):
      efficientnet_lite0("x.pth")


def test_images_are_brought_to_the_encoders_form():
  """Grey ones in three channels, resized, normalised; whatever their size."""
  encoder = Encoder({}, lambda _, x: x.mean((1, 2)), 4, (0.5,) * 3, (0.25,) * 3)
  white = square(np.full((8, 6, 1), 255, np.uint8), 4, "bilinear")
  assert white.shape == (4, 4, 3) and (white == 255).all()
  found = features_of(encoder, {}, jnp.asarray(white)[None])
  np.testing.assert_allclose(found, np.full((1, 3), 2.0), rtol=1e-6)
  with pytest.raises(InputError, match="images have 2 channels"):
    square(np.zeros((8, 6, 2), np.uint8), 4, "bilinear")
