"""A domain that is left out: what reaches which row, and bad input."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax import load_generator
from mcdi_jax.data import DataConfig
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.families import Adapters
from mcdi_jax.generator import GeneratorSpec, ScoreConfig
from mcdi_jax.generator.storage import blank, save_generator
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.progress import stage
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.methods.alignment import coral, mean_alignment
from mcdi_jax.pipeline import Config, run
from mcdi_jax.pipeline.domains import (
  check_domains,
  domain_rivals,
  load_domains,
  prepare_domains,
)
from mcdi_jax.pipeline.facts import result_facts
from mcdi_jax.pipeline.generalisation import evaluate_domains
from mcdi_jax.pipeline.generator import Trained
from mcdi_jax.pipeline.tuning import Choice, Tuned
from mcdi_jax.pipeline.use_config import DomainsConfig, FeaturesConfig
from mcdi_jax.preparation import PreparationConfig

CLASSES, WIDTH, PER_CELL = 2, 6, 12
KEPT = {"rate_factor": 1.0, "temperature": 0.0}
DOMAINS = ("cartoon", "photo", "sketch")
CONFIG = Config(
  family="domains",
  delta_base="ridge_loo",
  generators=("generated",),
  domains=DomainsConfig(leave_out="photo", members=2, shots=2),
  features=FeaturesConfig(project=4, across=1),
  preparation=PreparationConfig(tasks=4, steps=4, rate=1e2, shard_tasks=4),
  diffusion=DiffusionConfig(steps=3, schedule="linear_auto"),
  score=ScoreConfig(width=8, layers=1, vectors=4, heads=2, ridge=2),
  meta=MetaConfig(
    steps=1, tasks=2, draws=2, inner_steps=2, ways=(2,), shots=(2,), validation_tasks=2
  ),
  finishing=FinishingConfig(queries=2),
  evaluation=EvaluationConfig(
    queries=2, trials=2, tuning_tasks=2, temperatures=(0.0,), latency=False
  ),
)


def _save(path: Path, labels_of_photo: int = 0, **more: Any) -> str:
  """Clusters, each domain with a shift of its own; `labels_of_photo` are added to those of
  photographs, so that they are other ones."""
  rng = np.random.default_rng(0)
  domain = np.repeat(DOMAINS, CLASSES * PER_CELL)
  labels = np.tile(np.repeat(np.arange(CLASSES), PER_CELL), len(DOMAINS))
  x = 3 * rng.normal(size=(CLASSES, WIDTH))[labels] + rng.normal(size=(len(labels), WIDTH))
  x += rng.normal(size=(len(DOMAINS), WIDTH)).repeat(CLASSES * PER_CELL, 0)
  labels = np.where(domain == "photo", (labels + labels_of_photo) % CLASSES, labels)
  content = {"features": x.astype(np.float32), "labels": labels, "domain": domain, **more}
  np.savez(path, **{name: a for name, a in content.items() if a is not None})
  return str(path)


def _config(path: str, **changes: Any) -> Config:
  data = DataConfig(source="npz", path=path)
  return dataclasses.replace(CONFIG, data=data, **changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
  return tmp_path_factory.mktemp("domains")


@pytest.fixture(scope="module")
def lines(place: Path) -> list[dict[str, Any]]:
  return run(_config(_save(place / "set.npz")), place / "w")


def test_rows_and_protocols(lines: list[dict[str, Any]]):
  of = {p: [x for x in lines if x["protocol"] == p] for p in {x["protocol"] for x in lines}}
  assert of.keys() == {"set-without-photo", "set-without-photo-transductive"}
  plain = ["generated", "prototypes", "ridge", "ridge_across", "ridge_loo", "logistic"]
  plain += ["generated_averaged", "prototypes_averaged", "ridge_loo_averaged"]
  methods = {x["method"] for x in of["set-without-photo"]}
  assert methods == {*plain, "ridge_oracle", "logistic_oracle", "shuffled_condition"}
  again = of["set-without-photo-transductive"]
  aligned = {f"{n}_{how}" for n in plain for how in ("unlabelled", "coral")}
  assert {x["method"] for x in again} == {*plain, *aligned, "shuffled_condition"}
  assert {x["method"] for x in again if x["transductive"]} == aligned
  assert {x["total"] for x in of["set-without-photo"]} == {CLASSES * PER_CELL}
  assert {x["total"] for x in again} == {CLASSES * PER_CELL // 2}
  for line in lines:
    assert line["ci95_cluster"] is not None and line["shots"] == 20
    if line["method"].startswith("generated"):
      assert "minus_logistic" in line["settings"]


def test_the_targets_labels_reach_oracles_alone(place: Path, lines: list[dict[str, Any]]):
  """With the two classes of the target exchanged every answer is the same, and right where
  it was wrong."""
  path = place / "exchanged" / "set.npz"
  path.parent.mkdir()
  config = _config(_save(path, labels_of_photo=1))
  sets = load_domains(config)
  prepared = prepare_domains(config, sets, 0, as_path(place), stage)
  generator = load_generator(place / "w" / "seed_0" / "generator")
  found = {"generated": Tuned(Trained(generator, 0.0), Choice(KEPT, 1, [], None))}
  facts = result_facts(config, sets, prepared, 0)
  given = (domain_rivals(config, prepared), as_path(place / "exchanged"))
  again = evaluate_domains(config, facts, found, None, prepared.suite, *given)
  for one, other in zip(lines, again, strict=True):
    assert one["method"] == other["method"] and one["total"] == other["total"]
    same = one["correct"] + other["correct"] == one["total"]
    assert same or one["method"].endswith("_oracle"), one["method"]
  assert {x["correct"] for x in lines} != {x["total"] // 2 for x in lines}


def test_the_left_out_domain_is_not_trained_on(place: Path):
  sets = load_domains(_config(_save(place / "set.npz")))
  prepared = prepare_domains(CONFIG, sets, 0, as_path(place), stage)
  suite = prepared.suite
  [target] = suite.tests.values()
  used = [np.asarray(items.x) for items in (suite.query_train, suite.val)]
  distance = lambda x: np.abs(x[:, None] - np.asarray(target.x)).max(-1).min()  # noqa: E731
  assert min(distance(x) for x in used) > 1e-3
  of = [np.asarray(items.index) for items in (suite.query_train, suite.val)]
  counts = [int(items.count.sum()) for items in (suite.query_train, suite.val)]
  assert counts == [40, 8] and len(of[0]) == 2 * CLASSES  # 80/20 of two domains
  again = prepare_domains(CONFIG, sets, 1, as_path(place), stage).suite
  assert not np.array_equal(again.val.x, suite.val.x)  # each seed its own split


def _save_images(path: Path) -> str:
  """Noisy images of a colour a class."""
  rng = np.random.default_rng(0)
  domain = np.repeat(DOMAINS, CLASSES * PER_CELL)
  labels = np.tile(np.repeat(np.arange(CLASSES), PER_CELL), len(DOMAINS))
  colours = np.array([[200, 60, 60], [60, 60, 200]])[labels][:, None, None]
  images = colours + rng.integers(-40, 41, (len(labels), 16, 16, 3))
  np.savez(path, images=images.astype(np.uint8), labels=labels, domain=domain)
  return str(path)


def _adapters(place: Path) -> str:
  """A generator that leaves the encoder as it is: it has learned nothing."""
  family = Adapters(
    image_shape=(16, 16, 3), network="conv4", widths=(8,), ways=(2,), shots=(2,)
  )
  score = ScoreConfig("tokens", width=8, layers=1, heads=2)
  spec = GeneratorSpec(score, CONFIG.diffusion, family, base="init")
  schedule = make_schedule(CONFIG.diffusion)
  made = dataclasses.replace(blank(spec, jax.random.key(0)), schedule=schedule)
  save_generator(place, made, {})
  return str(place)


def test_adapters_stand_beside_heads_on_their_encoder(place: Path):
  """What is made of images answers images, which are not in the order of their file."""
  adapters = _adapters(place / "adapters")
  domains = dataclasses.replace(CONFIG.domains, adapters=adapters)
  path = _save_images(place / "images.npz")
  lines = run(_config(path, domains=domains), place / "inside")
  of = {x["method"]: x for x in lines if x["protocol"] == "images-without-photo"}
  own = of["ready adapters_averaged"]
  assert own["total"] == CLASSES * PER_CELL and own["value"] > 60
  assert own["settings"]["items"] == 2 * [2 * 2 * CLASSES]
  assert "minus_ridge_loo" in own["settings"]
  assert {x["backbone"] for x in lines} == {of["ridge"]["backbone"]}
  moved = place / "elsewhere" / "adapters"
  shutil.copytree(adapters, moved)
  domains = dataclasses.replace(domains, adapters=str(moved))
  again = run(_config(path, domains=domains, seeds=(0,)), place / "again")
  assert {x["config"] for x in again} == {x["config"] for x in lines}


def test_alignment_gives_the_targets_moments():
  rng = np.random.default_rng(0)
  draw = lambda: jnp.asarray(rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + 2)  # noqa: E731
  x, target = draw(), draw()
  for align in (mean_alignment, coral):
    np.testing.assert_allclose(align(x, target)(x).mean(0), target.mean(0), atol=1e-4)
  spread = lambda x: jnp.linalg.norm(jnp.cov(x.T) - jnp.cov(target.T))  # noqa: E731
  assert spread(coral(x, target)(x)) < 0.7 * spread(x)
  np.testing.assert_allclose(coral(x, x)(x), x, atol=1e-4)


def test_from_one_source_to_another_file(place: Path):
  """Domains that the target's file has are all of it."""
  source, target = _save(place / "a.npz", domain=None), _save(place / "b.npz", domain=None)
  features = dataclasses.replace(CONFIG.features, targets=(target,), across=0)
  domains = dataclasses.replace(CONFIG.domains, leave_out="")
  config = _config(source, features=features, domains=domains)
  sets = load_domains(config)
  check_domains(config, sets)
  assert sets.protocol == "a-to-b" and len(sets.target.y) == len(sets.source.labels)


@pytest.mark.parametrize(
  ("changes", "more", "message"),
  [
    ({"leave_out": "clipart"}, {}, r"config.domains.leave_out is 'clipart': set has \["),
    ({}, {"domain": None}, "leave_out is 'photo', and set is of one domain: give"),
    ({"adapters": "no"}, {}, "config.domains.adapters: there is no gen"),
    (
      {"adapters": "any-features"},
      {},
      "config.domains.adapters: any-features makes weights of features: name",
    ),
    ({"leave_out": ""}, {}, "config.features.targets is .*name the file of the target, or"),
  ],
)
def test_bad_input(
  tmp_path: Path, changes: dict[str, Any], more: dict[str, Any], message: str
):
  domains = dataclasses.replace(CONFIG.domains, **changes)
  config = _config(_save(tmp_path / "set.npz", **more), domains=domains)
  with pytest.raises(InputError, match=message):
    check_domains(config, load_domains(config))


def test_a_domain_without_a_class_is_refused(tmp_path: Path):
  labels = np.tile(np.repeat(np.arange(CLASSES), PER_CELL), len(DOMAINS))
  labels[:PER_CELL] = 1  # of cartoons none is left of the first class
  config = _config(_save(tmp_path / "set.npz", labels=labels))
  with pytest.raises(InputError, match="the domain cartoon has 0 items of the class 0"):
    load_domains(config)


def test_too_many_domains_across(tmp_path: Path):
  features = dataclasses.replace(CONFIG.features, across=2)
  config = _config(_save(tmp_path / "set.npz"), features=features)
  with pytest.raises(InputError, match="2 domains are sources, one of them for the quer"):
    check_domains(config, load_domains(config))
