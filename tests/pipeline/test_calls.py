"""What each stage is given by the one that calls it: the seed, the split, the key, the
place. The stages themselves are stand-ins that note what they were given."""

import contextlib
import dataclasses
import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import IMAGE, make_generator, make_source

from mcdi_jax.data import DataConfig, Splits, from_labels
from mcdi_jax.lib import files
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import MetaConfig
from mcdi_jax.networks.pretrain import PretrainState
from mcdi_jax.pipeline import Config, backbone, bank, heads
from mcdi_jax.pipeline.backbone import Backbone, EmbeddedSplits
from mcdi_jax.pipeline.config import task_family
from mcdi_jax.pipeline.generator import Trained
from mcdi_jax.pipeline.tuning import Choice, Tuned
from mcdi_jax.pipeline.use import Prepared, Suite
from mcdi_jax.pipeline.windows import Windows
from mcdi_jax.preparation import Bank, PreparationConfig, Shards
from mcdi_jax.preparation.bank import bank_key
from mcdi_jax.tasks import Form

run_module = importlib.import_module("mcdi_jax.pipeline.run")
NAMES = ("generated", "generated_finished")
SEEDS = (5, 6)


def _images(first: int, classes: int) -> Any:
  """Two images a class, of one brightness each, all different."""
  value = first + np.arange(2 * classes, dtype=np.uint8)
  pixels = np.ones((1, *IMAGE), np.uint8) * value[:, None, None, None]
  return from_labels(pixels, np.repeat(np.arange(classes), 2))


def _splits() -> Splits:
  sets = (_images(0, 3), _images(100, 4), _images(200, 5))
  names = tuple(tuple(map(str, range(s.classes))) for s in sets)
  return Splits(*sets, names, "toys", "d")


def _same(a: Any, b: Any) -> bool:
  return np.array_equal(jax.random.key_data(a), jax.random.key_data(b))


class _Items(str):
  """What stands for a set of items."""

  @property
  def classes(self) -> int:
    return 5 if "upright" in self else 20


_OF_HEADS = ("prepare_backbone", "embed_splits", "augmented_features", "classified")
_OF_RUN = ("prepare_banks", "tuned_generator", "evaluate", "pictures", "print_table")


class _Stages:
  """In place of those of `run`, and of heads; notes what they are given, by their names."""

  def __init__(self, monkeypatch: pytest.MonkeyPatch):
    self.given: dict[str, list[tuple[Any, ...]]] = {}
    for module, names in ((heads, _OF_HEADS), (run_module, (*_OF_RUN, "write_report"))):
      for name in names:
        monkeypatch.setattr(module, name, self._stand_in(name))
    own = {name: self._stand_in(name) for name in ("check", "rivals")}
    use = run_module.USES["heads"]._replace(**own)
    monkeypatch.setattr(run_module, "USES", {"heads": use})
    monkeypatch.setattr(heads, "read_images", lambda _: _splits())

  def _stand_in(self, name: str) -> Any:
    def stage(*arguments: Any) -> Any:
      self.given.setdefault(name, []).append(arguments)
      answer = getattr(self, f"_{name}", None)
      return answer(*arguments) if answer else None

    return stage

  def _prepare_backbone(self, config: Any, splits: Any, place: Any, *rest: Any) -> Any:
    seed = rest[-1]
    return Backbone(None, f"params {seed}", f"digest {seed}", place)

  def _embed_splits(self, config: Any, splits: Any, backbone: Backbone) -> Any:
    sets = ("train", "val", "test", "upright")
    return EmbeddedSplits(*(_Items(f"{name} of {backbone.params}") for name in sets))

  def _augmented_features(self, *arguments: Any) -> Any:
    return f"versions of {arguments[-1]}"

  def _rivals(self, config: Any, prepared: Prepared) -> Any:
    return f"rivals on {prepared.digest}"

  def _prepare_banks(self, config: Any, prepared: Prepared, directory: Any) -> Any:
    return Windows(lambda _: f"bank on {prepared.digest}", 1, 1)

  def _tuned_generator(self, config: Any, name: str, seed: int, *_: Any) -> Any:
    made = make_generator()
    number = 10 * seed + NAMES.index(name)
    made = dataclasses.replace(made, score={"number": jnp.float32(number)})
    return Tuned(Trained(made, 1.0), Choice({}, 1, [], None))

  def _evaluate(self, config: Any, facts: Any, *_: Any) -> Any:
    return [{"seed": facts.seed}]

  def _pictures(self, *_: Any) -> Any:
    return {"a": np.zeros(1)}

  def _classified(self, *_: Any) -> Any:
    return {"b": np.ones(1)}


def test_every_stage_of_a_seed_is_given_what_is_that_seeds(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Banks are prepared on training classes; the pictures are of the first seed, of its
  training and upright test classes."""
  stages = _Stages(monkeypatch)
  config = Config(generators=NAMES, seeds=SEEDS, bank_dir=str(tmp_path / "banks"))
  lines = run_module.run(config, tmp_path / "w")
  assert lines == [{"seed": 5}, {"seed": 6}]
  given, w = stages.given, as_path(tmp_path / "w")
  places = [arguments[2] for arguments in given["prepare_backbone"]]
  assert places == [w / "backbone"] * 2
  assert [arguments[-1] for arguments in given["prepare_backbone"]] == [5, 6]
  for n, seed in enumerate(SEEDS):
    features = stages._embed_splits(None, None, Backbone(None, f"params {seed}", "", w))
    assert given["augmented_features"][n][-1] == features.train
    suite = Suite(features.train, features.val, {"toys-5": features.upright_test}, 5)
    prepared = Prepared(
      task_family(config, IMAGE),
      f"params {seed}",
      f"digest {seed}",
      f"conv4-{config.backbone.width}",
      suite,
      f"versions of {features.train}",
      {"data": "toys", "border_brightness": pytest.approx(2.5 / 255)},
    )
    assert given["prepare_banks"][n] == (config, prepared, as_path(tmp_path / "banks"))
    assert given["rivals"][n] == (config, prepared)
    for name in NAMES:
      arguments = given["tuned_generator"][2 * n + NAMES.index(name)]
      _, asked, of_seed, material, place, _, choices = arguments
      assert (asked, of_seed) == (name, seed)
      assert material.frozen == f"params {seed}"
      assert material.bank.at(0) == f"bank on digest {seed}"
      assert material.family == prepared.family
      assert material.val == features.val
      assert material.about == prepared.about
      inside = "" if name == "generated" else name
      assert place == w / f"seed_{seed}" / inside
      assert choices == w / "tuning"
    _, facts, found, source, tested, rivals, choices = given["evaluate"][n]
    assert (facts.seed, tested, choices) == (seed, suite, w / "tuning")
    assert (facts.backbone, facts.family) == (prepared.backbone, prepared.family)
    assert (source, rivals) == (f"bank on digest {seed}", f"rivals on digest {seed}")
    scores = [float(found[name].trained.generator.score["number"]) for name in NAMES]
    assert scores == [10 * seed, 10 * seed + 1]
  ((shown, _, form, train, upright, _),) = given["pictures"]
  assert float(shown.score["number"]) == 50
  assert form == config.forms[0]
  assert (train, upright) == ("train of params 5", "upright of params 5")
  ((shown, form, upright, images, _),) = given["classified"]
  assert float(shown.score["number"]) == 50
  assert (form, upright) == (config.forms[0], "upright of params 5")
  np.testing.assert_array_equal(images.x, _splits().test.x)
  drawn = files.read_checked_arrays(w / "pictures.safetensors")
  assert drawn.keys() == {"a", "b"}


def test_tests_are_upright_and_where_classes_are_turned_also_rotated(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Clusters are the upright classes either way."""
  stages = _Stages(monkeypatch)
  timed = lambda title: contextlib.nullcontext()  # noqa: E731
  for rotations in (False, True):
    config = Config(data=DataConfig(rotations=rotations))
    found = heads.prepare_heads(config, _splits(), 5, as_path(tmp_path), timed).suite
    features = stages._embed_splits(None, None, Backbone(None, "params 5", "", None))
    expected = {"toys-5": features.upright_test}
    expected |= {"toys-5-rotated": features.test} if rotations else {}
    assert found == Suite(features.train, features.val, expected, 5)
    assert list(found.tests) == list(expected)


@pytest.mark.parametrize("rotations", [False, True])
def test_a_backbone_is_trained_and_standardised_on_training_images(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotations: bool
):
  given = []

  def train(step: Any, state: Any, key: Any, **_: Any) -> Any:
    return step(state, key)

  def pretraining(network: Any, config: Any, images: Any) -> Any:
    params = {"weights": jnp.ones(2), "statistics": ()}
    made = PretrainState(0, params, ())
    return lambda key: made, lambda state, key, images: given.append(images) or state

  def embed(apply: Any, params: Any, images: Any) -> Any:
    given.append(images)
    return images._replace(x=jnp.float32(images.x[:, 0, 0]))

  monkeypatch.setattr(backbone, "train", train)
  monkeypatch.setattr(backbone, "pretraining", pretraining)
  monkeypatch.setattr(backbone, "embed", embed)
  config, splits = Config(data=DataConfig(rotations=rotations)), _splits()
  place = as_path(tmp_path)
  made = backbone.prepare_backbone(config, splits, place, place / "metrics.jsonl", 0)
  assert len(given) == 2
  for images in given:
    assert set(np.unique(images.x)) == set(range(6))
    assert images.classes == (12 if rotations else 3)
  np.testing.assert_allclose(made.params["mean"], 2.5)
  features = backbone.embed_splits(config, splits, made)
  turns = 4 if rotations else 1
  counts = [items.classes for items in features]
  assert counts == [3 * turns, 4 * turns, 5 * turns, 5]
  least = [int(items.x.min()) for items in features]
  assert least == [0, 100, 200, 200]


def test_each_copy_of_a_training_image_is_a_warp_of_its_own():
  """Beside the features of the image itself; with the seed of preparation."""
  splits = _splits()
  luck = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1))
  luck = luck.repeat(4, 1).repeat(4, 2)
  splits = splits._replace(train=splits.train._replace(x=luck.astype(np.uint8)))
  network = lambda p, x: p * x.reshape(len(x), -1)  # noqa: E731
  made = Backbone(type("N", (), {"apply": staticmethod(network)}), 1.0, "", None)
  plain = splits.train._replace(x=np.float32(luck.reshape(6, -1)) / 255)

  def versions(**changes: Any) -> np.ndarray:
    config = Config(preparation=PreparationConfig(augment_copies=2, **changes))
    found = backbone.augmented_features(config, splits, made, plain)
    assert found.x.shape == (6, 3, plain.x.shape[1])
    np.testing.assert_array_equal(found.index, plain.index)
    return np.asarray(found.x)

  found = versions()
  np.testing.assert_array_equal(found[:, 0], plain.x)
  own = np.linalg.norm(found[:, None, 1] - plain.x[None], axis=-1)
  assert (own.argmin(1) == np.arange(6)).all()  # near the image that it is of
  assert abs(found[:, 1] - found[:, 2]).max(1).min() > 0.01
  assert abs(versions(seed=1)[:, 1] - found[:, 1]).max() > 0.01


def test_banks_are_made_and_read_with_the_key_of_preparation(
  monkeypatch: pytest.MonkeyPatch,
):
  """Kept supports are those that the tasks were prepared on."""
  given: dict[str, Any] = {}

  class Made(Shards):
    bytes = 0

    def read(self, which: Any = None) -> Any:
      assert list(which) == [0, 1]
      return Bank(np.zeros((3, 5), np.int32), {}), np.arange(3, dtype=np.int32)

  def open_bank(place: Any, prepare: Any, items: Any, *_: Any, **settings: Any) -> Shards:
    given.update(settings, items=items[1], prepare=prepare.args)
    return Made(place, (2, 1))

  def task_source(
    family: Any, forms: Any, banks: Any, items: Any, key: Any, numbers: Any, _: Any
  ) -> Any:
    given.update(forms=forms, features=items, key=key, numbers=numbers)
    return make_source()

  monkeypatch.setattr(bank, "open_bank", open_bank)
  monkeypatch.setattr(bank, "task_source", task_source)
  preparation = PreparationConfig(seed=3, prepare_on="support")
  meta = MetaConfig(ways=(5,), shots=(1, 2), support="kept")
  config = Config(preparation=preparation, meta=meta)
  features = from_labels(np.zeros((6, 4), np.float32), np.repeat(np.arange(3), 2))
  versions = features._replace(x=np.ones((6, 1, 4), np.float32))
  family = task_family(config, (16, 16, 1))
  place = as_path("/nowhere")
  other = features._replace(x=np.ones((6, 4), np.float32))
  suite = Suite(features, other, {"toys-3": other}, 3)
  prepared = Prepared(family, None, "b", None, suite, versions, {})
  windows = bank.prepare_banks(config, prepared, place)
  assert windows.number == 1 and "forms" not in given  # nothing is read yet
  windows.at(0)
  assert [list(numbers) for numbers in given["numbers"]] == [[0, 1, 2]] * 2
  assert given["seed"] == 3
  assert _same(given["key"], bank_key(3))
  assert given["items"].x.shape == (6, 1, 4)
  assert given["features"] is features
  assert given["forms"] == [(5, 1), (5, 2)]
  assert given["prepare"] == (family, preparation, Form(5, 2), 3)
