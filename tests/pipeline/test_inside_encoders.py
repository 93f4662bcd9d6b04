"""The chain for adapters inside an encoder of our own, in miniature."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import few_timed

from mcdi_jax.data import DataConfig
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import KEYS, EvaluationConfig
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.pipeline import Config, adapters, run
from mcdi_jax.pipeline.use_config import AdaptersConfig, FeaturesConfig
from mcdi_jax.preparation import PreparationConfig

PER_CLASS = 24


def _images(seed: int, classes: int, size: int = 16) -> dict[str, np.ndarray]:
  """Noisy images of a colour a class."""
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(classes), PER_CLASS)
  colours = rng.integers(40, 215, (classes, 1, 1, 3))[labels]
  noise = rng.integers(-40, 41, (len(labels), size, size, 3))
  return {"images": np.clip(colours + noise, 0, 255).astype(np.uint8), "labels": labels}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
  place = tmp_path_factory.mktemp("adapters")
  split = np.repeat([0, 1, 2], [5, 3, 3])
  np.savez(place / "source.npz", **_images(0, 11), class_split=split)
  nth = np.arange(3 * PER_CLASS) % PER_CLASS  # of its class: 3 few, 8 sketches, 13 photos
  domain = np.where(nth < 3, "few", np.where(nth < 11, "sketch", "photo"))
  np.savez(place / "target.npz", **_images(1, 3, 12), domain=domain)
  return Config(
    family="adapters",
    base="renormalised",
    data=DataConfig(source="npz", path=str(place / "source.npz")),
    adapters=AdaptersConfig(
      distort=("inverted",), distorted_per_class=20, closed_form="ridge", statistics=0.3
    ),
    features=FeaturesConfig(
      targets=(str(place / "target.npz"),),
      shots=(2,),
      ways=(2,),
      supports=(4,),
      queries=5,
    ),
    backbone=BackboneConfig(
      width=6,
      objective="classification",
      steps=3,
      ways=5,
      drawings=3,
      group=15,
      warp=0.0,
      rate=1e-3,
    ),
    preparation=PreparationConfig(
      tasks=4, steps=3, rate=0.01, shard_tasks=4, prepare_on="support_and_query", queries=2
    ),
    diffusion=DiffusionConfig(steps=3, schedule="linear_auto"),
    score=ScoreConfig("tokens", width=8, layers=1, heads=2, facts=True),
    meta=MetaConfig(
      steps=2,
      tasks=2,
      draws=2,
      ways=(2,),
      shots=(2,),
      support="kept",
      validate_every=2,
      validation_tasks=4,
    ),
    finishing=FinishingConfig(steps=2, tasks=2, queries=2, feature_noise=0.0),
    evaluation=EvaluationConfig(
      tasks=4,
      queries=5,
      trials=2,
      tuning_tasks=4,  # as many as are tested, of as many queries: compiled once
      temperatures=(0.0,),
      descent_steps=(1,),
      whole_steps=(1,),
      latency_s=0.5,
    ),
    generators=("generated", "generated_finished"),
  )


def test_generators_and_rivals_meet_on_every_target(config: Config, tmp_path: Path):
  """Images of another size, each domain for itself; heads on the plain encoder's features
  and descent inside it on the same supports; a domain of too few items a class is left
  out."""
  few = {"generated", "whole_descent_1", "prototypes"}
  with few_timed(adapters, few) as asked:
    lines = run(config, tmp_path)
  scored = [line for line in lines if line["metric"]]
  assert all(tuple(line) == KEYS for line in lines)
  generators = ["generated", "generated_finished"]
  heads = ["prototypes", "cosine", "ridge", "ridge_loo", "ridge_ensemble", "logistic"]
  rivals = ["renormalised", "descent_1", "whole_descent_1", *heads]
  found = {(x["protocol"], x["ways"], x["shots"], x["tasks"]) for x in scored}
  protocols = ("source-3", "target-photo", "target-sketch")
  assert found == {(p, 2, 2, 4) for p in protocols}
  shuffled = ["shuffled_condition", "shuffled_generated_finished"]
  expected = [*generators, *rivals, *shuffled, "mean_of_bank"]
  assert [x["method"] for x in scored] == 3 * expected
  for line in scored:
    assert np.isfinite(line["value"]) and line["family"] == "adapters"
    if line["method"] in generators:
      assert {f"minus_{name}" for name in rivals} <= line["settings"].keys()
  assert asked == [(name, 2, 2) for name in (*generators, *rivals)]
  timed = [x for x in lines if x["protocol"] == "latency-head"]
  assert {(x["method"], x["ways"]) for x in timed} == {(name, 2) for name in few}


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"distort": ("foggy",)}, "config.adapters.distort is 'foggy': it has"),
    ({"distorted_per_class": 0}, "config.adapters.distorted_per_class is 0: give at"),
    ({"beside": "pacs.npz"}, "config.adapters.leave_out is '': with beside give both"),
    ({"statistics": 1.5}, "config.adapters.statistics is 1.5: give a share"),
  ],
)
def test_bad_settings_are_told(changes: dict[str, Any], said: str):
  with pytest.raises(InputError, match=said):
    AdaptersConfig(**changes)


def test_bad_sets_are_told_before_any_work(config: Config, tmp_path: Path):
  source = config.data.path
  x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
  features = {"features": x, "labels": np.arange(40) % 2}
  np.savez(tmp_path / "features.npz", **features)
  whole = {name: a for name, a in np.load(source).items() if name != "class_split"}
  np.savez(tmp_path / "same.npz", **whole)
  np.savez(tmp_path / "target.npz", **_images(3, 3))
  for changes, said in (
    ({"score": ScoreConfig()}, "config.score.network is 'equivariant': this network reads"),
    (
      _targets(config, tmp_path / "features.npz"),
      "features.npz holds features, not images",
    ),
    (
      _targets(config, tmp_path / "same.npz"),
      "is the source, whose classes are trained on",
    ),
    (_targets(config, *2 * [tmp_path / "target.npz"]), "two targets are called 'target'"),
    (_targets(config, tmp_path / "none.npz"), "config.features.targets is '.*none.npz'"),
    ({"data": dataclasses.replace(config.data, invert="always")}, "config.data.invert is"),
  ):
    with pytest.raises(InputError, match=said):
      run(dataclasses.replace(config, **changes), tmp_path / "w")


def test_other_domains_of_a_target_are_trained_on(config: Config):
  """As groups of classes of their own, for training alone; of the file the domain that is
  left out alone is tested, as it is without them."""
  (path,) = config.features.targets
  alone = adapters.load_adapters(config)
  asked = dataclasses.replace(config.adapters, beside=path, leave_out="sketch")
  found = adapters.load_adapters(dataclasses.replace(config, adapters=asked))
  assert found.plain.digest == alone.plain.digest and found.digest != alone.digest
  assert [*found.targets] == ["source-3", "target-sketch"]
  for a, b in zip(
    found.targets["target-sketch"], alone.targets["target-sketch"], strict=True
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(found.source.val.x, alone.source.val.x)
  train, names = found.source.train, found.source.domains[0]
  assert sorted(set(names)) == ["as they are", "inverted", "target-few", "target-photo"]
  assert names.count("target-photo") == 3 and train.together == 3
  rows = [n for n, name in enumerate(names) if name == "target-photo"]
  places = np.concatenate([train.index[row][: train.count[row]] for row in rows])
  of_photos = alone.targets["target-photo"]
  order = lambda x: np.sort(x.reshape(len(x), -1).sum(1))  # noqa: E731
  np.testing.assert_array_equal(order(train.x[places]), order(of_photos.x))


@pytest.mark.parametrize(
  ("leave_out", "changes", "said"),
  [
    ("fog", {}, "leave_out is 'fog': target has the domains ['few', 'photo', 'sketch']"),
    ("sketch", {"distort": ()}, "config.data.path is 'whole': beside it only a source"),
  ],
)
def test_bad_domains_beside_the_source_are_told(
  config: Config, tmp_path: Path, leave_out: str, changes: dict[str, Any], said: str
):
  whole = {n: a for n, a in np.load(config.data.path).items() if n != "class_split"}
  np.savez(tmp_path / "whole.npz", **whole)
  (path,) = config.features.targets
  asked = dataclasses.replace(config.adapters, beside=path, leave_out=leave_out, **changes)
  data = config.data
  if changes:
    data = dataclasses.replace(data, path=str(tmp_path / "whole.npz"))
  with pytest.raises(InputError, match=re.escape(said)):
    adapters.load_adapters(dataclasses.replace(config, adapters=asked, data=data))


def _targets(config: Config, *paths: Path) -> dict[str, Any]:
  targets = tuple(map(str, paths))
  return {"features": dataclasses.replace(config.features, targets=targets)}
