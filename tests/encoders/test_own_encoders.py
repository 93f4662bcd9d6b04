"""Encoders that were trained here: what embeds is the network itself."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import filled

from mcdi_jax.data.images import to_grey
from mcdi_jax.encoders.own import write_encoder
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.networks import Architecture, backbone
from mcdi_jax.pipeline.embedding import Embedder, open_encoder

FORMS = {
  "resnet12": (Architecture("resnet12", (2, 3, 4, 5)), (16, 16, 3)),
  "conv4": (Architecture("conv4", (3,)), (20, 20, 1)),
}


def _written(folder: Path, kind: str) -> tuple[Any, Any, tuple[int, ...]]:
  """Its network, params and shape of images."""
  architecture, shape = FORMS[kind]
  network = backbone(architecture, shape)
  params = filled(jax.eval_shape(network.init, jax.random.key(0)))
  params["scale"] = jnp.float32(1.7)
  about = {"network": kind, "widths": list(architecture.widths), "image_shape": list(shape)}
  write_encoder(folder, params, about)
  return network, params, shape


@pytest.mark.parametrize("kind", FORMS)
def test_features_are_the_networks_own(tmp_path: Path, kind: str):
  """Of images of its size; those of a grey encoder may come in colours of one grey."""
  network, params, shape = _written(tmp_path / "e", kind)
  embedding = open_encoder(kind, tmp_path / "e")
  images = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
  expected = jax.jit(network.apply)(params, jnp.float32(images) / 255)
  found = Embedder(embedding)(list(images))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  assert np.abs(found).max() > 1e-2 and embedding.name.startswith(f"{kind}@{shape[0]}-")
  if shape[-1] == 1:
    in_colour = Embedder(embedding)(list(images.repeat(3, -1)))
    np.testing.assert_array_equal(in_colour, found)


def test_colours_become_the_grey_of_the_data_room(tmp_path: Path):
  _written(tmp_path / "e", "conv4")
  embedding = open_encoder("conv4", tmp_path / "e")
  colours = np.random.default_rng(1).integers(0, 256, (3, 20, 20, 3)).astype(np.uint8)
  found = Embedder(embedding)(list(colours))
  expected = Embedder(embedding)(list(to_grey(colours)))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_that_differ_have_another_name(tmp_path: Path):
  """So that features of two encoders are not compared."""
  _, params, shape = _written(tmp_path / "a", "resnet12")
  about = {"network": "resnet12", "widths": [2, 3, 4, 5], "image_shape": list(shape)}
  write_encoder(tmp_path / "b", {**params, "scale": jnp.float32(2)}, about)
  names = [open_encoder("resnet12", tmp_path / name).name for name in "ab"]
  assert names[0] != names[1]


def _rewritten(folder: Path, **changes: Any) -> None:
  place = folder / "encoder.json"
  place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))


def test_another_folder_or_size_is_one_sentence(tmp_path: Path):
  folder = tmp_path / "e"
  with pytest.raises(MissingError, match="there is no .*encoder.json: name a folder that"):
    open_encoder("resnet12", folder)
  _written(folder, "resnet12")
  with pytest.raises(InputError, match="e holds a resnet12: give it as --encoder"):
    open_encoder("conv4", folder)
  said = "--encoder_size is 32: this encoder was trained on 16 pixels a side"
  with pytest.raises(InputError, match=said):
    open_encoder("resnet12", folder, 32)
  _rewritten(folder, widths=[2, 3, 4, 6])
  with pytest.raises(InputError, match="has other widths than .*encoder.json says"):
    open_encoder("resnet12", folder)
  _rewritten(folder, widths=[2, 3, 4, 5], image_shape=[16, 24, 3])
  with pytest.raises(InputError, match="takes images of 16×24: train on square ones"):
    open_encoder("resnet12", folder)
  (folder / "weights.safetensors").write_bytes(b"")
  with pytest.raises(DamagedError, match="is not what .* speaks of: write both anew"):
    open_encoder("resnet12", folder)
