"""From a config and images to the folder of an encoder; the training is a stand-in."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import stop_at
from miniature import filled
from PIL import Image

from configs import tiny_imagenet
from mcdi_jax.data import DataConfig
from mcdi_jax.lib import disk
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.networks import backbone
from mcdi_jax.pipeline import Config, pretrain
from mcdi_jax.pipeline import backbone as stage
from mcdi_jax.pipeline.backbone import Backbone
from mcdi_jax.pipeline.embed import embed_set
from mcdi_jax.pipeline.embedding import open_encoder
from mcdi_jax.pipeline.heads import check_heads, load_images

SHAPE = (16, 16, 3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
  """A folder as miniImageNet is laid out, with classes of 30 photographs of one size."""
  rng, root = np.random.default_rng(0), tmp_path / "images"
  for split, classes in (("train", 8), ("val", 5), ("test", 6)):
    for c in range(classes):
      place = root / split / f"{split}-{c}"
      place.mkdir(parents=True)
      for n in range(30):
        Image.fromarray(rng.integers(0, 256, SHAPE, np.uint8)).save(place / f"{n}.png")
  return root


def _config(images: Path, form: str = "5w1s", **changes: Any) -> Config:
  """That of configs/, with a network in miniature."""
  values = tiny_imagenet.get_config(form).to_dict()
  values["data"] |= {"source": "folder", "path": str(images), "size": 16}
  own = {"widths": (2, 2, 3, 4), "ways": 6, "group": 12, "steps": 3, **changes}
  values["backbone"] |= own
  return from_mapping(Config, {**values, "backbone_dir": "", "seeds": (4,)})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
  """Params without a training, and what they were asked for with."""
  asked: list[Any] = []

  def prepare(config: Config, splits: Any, directory: Any, *rest: Any) -> Backbone:
    asked.append((directory, splits, *rest))
    made = backbone(config.backbone.architecture, splits.image_shape, unit_length=True)
    params = filled(jax.eval_shape(made.init, jax.random.key(0)), seed=rest[-1])
    return Backbone(made, params, "digest", as_path(directory))

  module = importlib.import_module("mcdi_jax.pipeline.pretrain")  # not the function
  monkeypatch.setattr(module, "prepare_backbone", prepare)
  return asked


def test_a_folder_of_class_folders_is_split_by_its_levels(images: Path):
  """And suffices for the config's tasks and steps, whatever the form of task."""
  for form in ("5w1s", "5w5s"):
    config = _config(images, form)
    splits = load_images(config)
    assert [len(names) for names in splits.classes] == [8, 5, 6]
    check_heads(config, splits)
  with pytest.raises(InputError, match=r"config\.data\.class_split is 'class_split_super"):
    load_images(_config(images, "5w1s-superclass"))


def test_the_folder_says_what_it_holds(images: Path, tmp_path: Path, trained: list[Any]):
  """Of the first seed, whose training goes on where it was; and the features of
  launch.embed are those of the network before they are divided by their length."""
  config, out = _config(images, shared=False), tmp_path / "encoder"
  made = pretrain(config, out)
  ((directory, splits, metrics, seed),) = trained
  assert (str(directory), str(metrics)) == (f"{out}/backbone", f"{out}/metrics.jsonl")
  assert seed == 4 and made.name == "resnet12-2-2-3-4"
  about = json.loads((out / "encoder.json").read_text())
  assert about["trained_on"] == {
    "data": "images",
    "content": splits.digest,
    "classes": [f"train-{c}" for c in range(8)],
    "images": 240,
    "rotations": False,
  }
  assert (about["network"], about["widths"]) == ("resnet12", [2, 2, 3, 4])
  assert (about["image_shape"], about["seed"]) == ([16, 16, 3], 4)
  assert about["pixels"] == {"mean": [0, 0, 0], "sd": [1, 1, 1]}
  assert about["backbone"] == json.loads(json.dumps(dataclasses.asdict(config.backbone)))
  assert about["validation"] == made.validation
  assert made.validation.keys() == {"val_5w1s", "val_5w5s"}
  assert "jax" in about["versions"] and "commit" in about
  embedding = open_encoder("resnet12", out)
  data = DataConfig(source="folder", path=str(images))
  embed_set(data, tmp_path / "features.npz", embedding)
  with np.load(tmp_path / "features.npz") as found:
    features, labels = found["features"], found["labels"]
    names, split = found["classes"], found["class_split"]
  network = backbone(config.backbone.architecture, SHAPE)
  expected = stage.embed(network.apply, embedding.encoder.params, splits.train)
  for c in range(8):  # the images of a class lie in another order there
    own = features[names[labels] == f"train-{c}"]
    theirs = np.asarray(expected.x[expected.index[c]])
    own, theirs = (x[np.argsort(x[:, 0])] for x in (own, theirs))
    np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5)
  assert sorted(split) == [0] * 8 + [1] * 5 + [2] * 6


def test_weights_of_another_origin_are_left_alone(
  images: Path, tmp_path: Path, trained: list[Any]
):
  place = tmp_path / "encoder" / "weights.safetensors"
  place.parent.mkdir()
  place.write_bytes(b"mine")
  with pytest.raises(InputError, match="holds other weights: name a new folder"):
    pretrain(_config(images), place.parent)
  assert place.read_bytes() == b"mine" and not trained


@pytest.mark.parametrize("number", range(1, 7))
def test_an_interrupted_command_goes_on(
  number: int,
  images: Path,
  tmp_path: Path,
  trained: list[Any],
  monkeypatch: pytest.MonkeyPatch,
):
  """Wherever it was stopped among its writes; half an encoder is none."""
  config, out = _config(images), tmp_path / "encoder"
  with monkeypatch.context() as patch:
    patch.setattr(disk, "write_point", stop_at(number))
    with pytest.raises(KeyboardInterrupt):
      pretrain(config, out)
  if number < 6:
    with pytest.raises(InputError):
      open_encoder("resnet12", out)
  pretrain(config, out)
  open_encoder("resnet12", out)


@pytest.mark.parametrize(("shared", "seed"), [(True, 0), (False, 4)])
def test_it_is_the_backbone_that_a_run_looks_for(
  shared: bool, seed: int, images: Path, tmp_path: Path, trained: list[Any]
):
  """Of the bank's seed, where all seeds of the generators have one."""
  config = _config(images, shared=shared)
  pretrain(config, tmp_path / "encoder")
  assert trained[0][-1] == stage.backbone_seed(config, 4) == seed


def test_another_encoders_folder_is_left_alone(
  images: Path, tmp_path: Path, trained: list[Any]
):
  """The same one may be written again."""
  out = tmp_path / "encoder"
  for _ in range(2):
    pretrain(_config(images, validate_every=0), out)
  before = (out / "encoder.json").read_bytes()
  with pytest.raises(InputError, match=r"another encoder \(backbone differ\): name a new"):
    pretrain(_config(images, validate_every=0, steps=4), out)
  assert (out / "encoder.json").read_bytes() == before and len(trained) == 2
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="--out .*file is a file: name a new folder"):
    pretrain(_config(images), tmp_path / "file")


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"ways": 9, "group": 18}, r"config\.backbone\.ways is 9: the train split has 8"),
    ({"drawings": 31, "group": 6}, r"config\.backbone\.drawings is 31: a class .* has 30"),
  ],
)
def test_too_few_images_are_one_sentence(
  images: Path, tmp_path: Path, trained: list[Any], change: dict[str, Any], said: str
):
  with pytest.raises(InputError, match=said):
    pretrain(_config(images, **change), tmp_path / "encoder")
  assert not trained


def test_a_training_looks_at_validation_classes_and_changes_nothing_by_it(
  images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """The same params with and without; the figures stand in the log."""
  numbers = iter((50.0, 60.0))
  monkeypatch.setattr(
    stage, "validation", lambda *_: lambda *_: {"val_5w1s": next(numbers)}
  )
  monkeypatch.setattr(
    stage, "embed", lambda apply, params, x: x._replace(x=jnp.ones((2, 4)))
  )
  found = []
  for every in (0, 2):
    change = {"validate_every": every, "steps": 2, "network": "conv4", "width": 2}
    config, place = _config(images, **change), as_path(tmp_path / str(every))
    splits = load_images(config)
    found.append(stage.prepare_backbone(config, splits, place, place / "m.jsonl", 4))
  assert found[0].digest == found[1].digest
  for one, other in zip(*(jax.tree.leaves(f.params) for f in found), strict=True):
    np.testing.assert_array_equal(one, other)
  lines = [json.loads(x) for x in (tmp_path / "2" / "m.jsonl").read_text().splitlines()]
  assert [x["val_5w1s"] for x in lines if "val_5w1s" in x] == [50.0, 60.0]
