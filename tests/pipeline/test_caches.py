"""A cache's directory is another one for each setting that its content depends on, and the
same for all others. Nothing is trained: it is looked where it would be."""

import dataclasses
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest

from mcdi_jax.data import DataConfig, Splits, from_labels
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import FinishingConfig, InitialConfig, MetaConfig
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.pipeline import Config, backbone, bank
from mcdi_jax.pipeline.backbone import prepare_backbone
from mcdi_jax.pipeline.bank import prepare_banks
from mcdi_jax.pipeline.config import (
  AdaptersConfig,
  DocumentsConfig,
  DomainsConfig,
  FeaturesConfig,
  FieldsConfig,
  NetworksConfig,
  SentencesConfig,
  task_family,
)
from mcdi_jax.pipeline.use import Prepared, Suite
from mcdi_jax.preparation import PreparationConfig, Shards

CONFIG = Config(meta=MetaConfig(support="kept"), score=ScoreConfig("transformer"))
ITEMS = from_labels(np.zeros((2, 16, 16, 1), np.uint8), np.arange(2))
OF_BACKBONE = {
  "width": 8,
  "steps": 9,
  "ways": 30,
  "drawings": 5,
  "warp": 0.1,
  "group": 20,
  "rate": 0.5,
  "statistics_memory": 0.5,
  "network": "resnet12",
  "unit_length": True,
  "objective": "classification",
  "label_smoothing": 0.2,
  "flip": True,
  "crop": 2,
  "jitter": 0.1,
}
NO_BACKBONE = {"validate_every": 5, "shared": True}  # looks change nothing

OF_BANK = {
  "tasks": 2048,
  "steps": 50,
  "rate": 2.0,
  "epsilon": 0.5,
  "prepare_on": "support",
  "queries": 7,
  "init_scale": 0.1,
  "shared_init": False,
  "sam_radius": 0.1,
  "augment_copies": 2,
  "shard_tasks": 512,
  "seed": 1,
}
# Settings that neither depends on.
OTHERS: dict[str, Any] = {
  "score": ScoreConfig("transformer", width=32),
  "finishing": FinishingConfig(steps=7),
  "evaluation": EvaluationConfig(tasks=7),
  "generators": ("generated", "generated_delta"),
  "seeds": (0, 7),
  "gauge": False,
  "align": True,
  "precondition": 0.1,
  "base": "init",
  "delta_base": "ridge",
  "features": FeaturesConfig(targets=("a.npz",)),
  "domains": DomainsConfig(leave_out="a"),
  "fields": FieldsConfig(hidden=8),
  "networks": NetworksConfig(width=8),
  "documents": DocumentsConfig(rank=2),
  "sentences": SentencesConfig(rank=2),
  "adapters": AdaptersConfig(closed_form="ridge", distort=("noisy",)),
  "initial": InitialConfig(tasks=7),
  "diffusion": DiffusionConfig(steps=30, handover=0.5, end=0.03, ancestral=True),
  "meta": MetaConfig(support="kept", steps=7, rate=1e-4, tasks=3, ema=0.9),
  "data": DataConfig(source="npz", path="elsewhere", grey=True),
  "backbone_dir": "there",
  "bank_dir": "there",
  "bank_bytes": 7,
}
NO_BANK = {"imported_bank": "there"}  # with it none is made


class Stop(Exception):
  pass


def _backbone_place(
  monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG, seed: int = 0, digest: str = "d"
) -> str:
  def train(*_: Any, checkpoints: Any, **__: Any) -> None:
    raise Stop(checkpoints.directory.parent.name)

  monkeypatch.setattr(backbone, "train", train)
  splits = Splits(ITEMS, ITEMS, ITEMS, (("a", "b"),) * 3, "name", digest)
  root = as_path(tempfile.mkdtemp())
  with pytest.raises(Stop) as stop:
    prepare_backbone(config, splits, root, root / "metrics.jsonl", seed)
  shutil.rmtree(root)
  return str(stop.value)


def _bank_places(
  monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG, digest: str = "b"
) -> list[str]:
  found = []

  def open_bank(directory: Any, *_: Any, **__: Any) -> Any:
    found.append(directory.name)
    return Shards(directory, ())

  monkeypatch.setattr(bank, "open_bank", open_bank)
  features = ITEMS._replace(x=np.zeros((2, 4), np.float32))
  family = task_family(config, (16, 16, 1))
  suite = Suite(features, None, {}, 2)
  prepared = Prepared(family, None, digest, None, suite, features, {})
  prepare_banks(config, prepared, as_path("/nowhere"))
  return found


def _with(group: str, /, **changes: Any) -> Config:
  value = dataclasses.replace(getattr(CONFIG, group), **changes)
  return dataclasses.replace(CONFIG, **{group: value})


def test_every_setting_of_these_groups_is_tried():
  names = lambda config: {field.name for field in dataclasses.fields(config)}  # noqa: E731
  of_others = {"widths", *NO_BACKBONE}  # widths are of resnet12 alone
  assert set(OF_BACKBONE) | of_others == names(BackboneConfig)
  assert set(OF_BANK) == names(PreparationConfig)
  groups = {"family", "backbone", "preparation", "matmul_precision"}
  assert set(OTHERS) | set(NO_BANK) | groups == names(Config)


def test_a_backbone_depends_on_its_settings_its_seed_and_the_images(
  monkeypatch: pytest.MonkeyPatch,
):
  """And on nothing else."""
  configs = [CONFIG, *(_with("backbone", **{n: v}) for n, v in OF_BACKBONE.items())]
  configs.append(_with("data", rotations=True))
  configs.append(dataclasses.replace(CONFIG, matmul_precision="default"))
  places = [_backbone_place(monkeypatch, config) for config in configs]
  wide = _with("backbone", network="resnet12", widths=(16, 32, 64, 256))
  places.append(_backbone_place(monkeypatch, wide))
  places += [_backbone_place(monkeypatch, seed=seed) for seed in (1, 2)]
  places.append(_backbone_place(monkeypatch, digest="e"))
  assert len(set(places)) == len(places)
  for name, value in {**OTHERS, **NO_BANK}.items():
    other = dataclasses.replace(CONFIG, **{name: value})
    assert _backbone_place(monkeypatch, other) == places[0], name
  for name, value in OF_BANK.items():
    other = _with("preparation", **{name: value})
    assert _backbone_place(monkeypatch, other) == places[0], name
  looks = _with("backbone", **NO_BACKBONE)
  assert _backbone_place(monkeypatch, looks) == places[0]


def test_a_bank_depends_on_its_settings_the_form_of_task_and_the_backbone(
  monkeypatch: pytest.MonkeyPatch,
):
  """k, the ways and the family among them, and nothing else but the backbone's digest."""
  configs = [CONFIG, *(_with("preparation", **{n: v}) for n, v in OF_BANK.items())]
  configs.append(_with("diffusion", segments=2))
  configs.append(_with("meta", ways=(7,)))
  configs.append(dataclasses.replace(CONFIG, matmul_precision="default"))
  configs.append(dataclasses.replace(CONFIG, family="fields"))
  places = [place for config in configs for place in _bank_places(monkeypatch, config)]
  places += _bank_places(monkeypatch, digest="c")
  assert len(places) == len(configs) + 1
  assert len(set(places)) == len(places)
  for name, value in OTHERS.items():
    other = dataclasses.replace(CONFIG, **{name: value})
    assert _bank_places(monkeypatch, other) == places[:1], name


@pytest.mark.parametrize(
  ("prepare_on", "banks"), [("all", 2), ("support", 4), ("support_and_query", 4)]
)
def test_a_bank_serves_all_shots_that_it_does_not_depend_on(
  monkeypatch: pytest.MonkeyPatch, prepare_on: str, banks: int
):
  config = dataclasses.replace(
    CONFIG,
    meta=MetaConfig(support="kept", ways=(3, 5), shots=(1, 2)),
    preparation=PreparationConfig(prepare_on=prepare_on),
  )
  found = _bank_places(monkeypatch, config)
  assert len(found) == len(set(found)) == banks
