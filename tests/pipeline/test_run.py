"""The whole chain in miniature: data → backbone → bank → meta-training → evaluation.

One workdir with all three generators is made once for this module; other runs share its
backbone.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax import Support, generate, load_generator
from mcdi_jax.data import DataConfig, load_splits
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import KEYS, EvaluationConfig
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import as_path, exclusive
from mcdi_jax.meta import MetaConfig
from mcdi_jax.methods import RIDGE
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.pipeline import Config, run
from mcdi_jax.pipeline.backbone import embed_splits, prepare_backbone
from mcdi_jax.pipeline.heads import HEADS_USE, check_heads
from mcdi_jax.preparation import PreparationConfig

CONFIG = Config(
  data=DataConfig(glyph_classes=(12, 8, 8), glyph_drawings=6),
  backbone=BackboneConfig(width=4, steps=5, ways=6, drawings=3, group=6),
  preparation=PreparationConfig(tasks=32, steps=6, shard_tasks=16),
  diffusion=DiffusionConfig(steps=6, segments=2, schedule="linear_auto"),
  score=ScoreConfig(width=8, layers=1, heads=2),
  meta=MetaConfig(
    steps=4,
    tasks=2,
    draws=2,
    inner_steps=2,
    ways=(3,),
    validate_every=2,
    validation_tasks=10,
    save_every=2,
  ),
  evaluation=EvaluationConfig(
    tasks=20, queries=2, trials=2, tuning_tasks=20, temperatures=(0.0,), latency=False
  ),
  generators=("generated", "generated_single_level", "generated_delta"),
)
BASELINES = [
  "prototypes",
  "cosine",
  "ridge",
  "logistic",
  "finetune",
  "finetune_sgd",
  "prepared",
]
CONTROLS = ["shuffled_condition", "mean_of_bank", "nearest_of_bank"]
METHODS = [*CONFIG.generators, *BASELINES, *CONTROLS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
  workdir = tmp_path_factory.mktemp("run") / "w"
  return workdir, run(CONFIG, workdir)


def _group(name: str, **changes: Any) -> Config:
  """CONFIG with other settings in one group."""
  group = dataclasses.replace(getattr(CONFIG, name), **changes)
  return dataclasses.replace(CONFIG, **{name: group})


def _lines(path: Path) -> list[dict[str, Any]]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def _content(workdir: Path) -> dict[str, bytes]:
  """Every file but the lock."""
  found = [f for f in workdir.rglob("*") if f.is_file() and f.name != ".lock"]
  return {str(f.relative_to(workdir)): f.read_bytes() for f in found}


def test_every_method_has_a_line_with_all_keys(made: Any):
  workdir, lines = made
  assert [line["method"] for line in lines] == METHODS
  assert lines == _lines(workdir / "results.jsonl")
  for line in lines:
    assert tuple(line) == KEYS
    assert (line["ways"], line["shots"], line["queries"]) == (3, 1, 2)
    assert (line["tasks"], line["total"]) == (20, 20 * 3 * 2)
    assert line["accuracy"] == pytest.approx(100 * line["correct"] / line["total"])
    assert line["ci95"] > 0
    assert line["protocol"] == "glyphs-8"
    assert line["backbone"] == "conv4-4"
    assert line["latency_ms"] is None
  assert len({line["config"] for line in lines}) == 1


def test_every_line_is_paired_against_generated(made: Any):
  first, *others = made[1]
  assert first["paired_against"] is None
  for line in others:
    assert line["paired_against"] == "generated"
    assert line["paired_diff"] == pytest.approx(line["accuracy"] - first["accuracy"])
    assert line["paired_ci95"] >= 0


def test_lines_say_what_distinguishes_them(made: Any):
  lines = {line["method"]: line for line in made[1]}
  for name in CONFIG.generators:
    settings = lines[name]["settings"]
    base = "prototypes" if name == "generated_delta" else "none"
    assert (settings["k"], settings["T"], settings["base"]) == (2, 6, base)
    assert lines[name]["parameters"] > 0
    assert lines[name]["budget_s"] > 0
  for name, optimiser in (("finetune", "adamw"), ("finetune_sgd", "sgd")):
    settings = lines[name]["settings"]
    assert settings["optimiser"] == optimiser
    assert {"init_scale", "steps", "rate", "decay", "centre"} <= settings.keys()
    assert ("epsilon" in settings) is (optimiser == "adamw")


def test_intervals_over_classes_and_trials_are_in_every_line(made: Any):
  untuned = (*CONFIG.generators, "prepared", *CONTROLS)
  trials = {"cosine": 2} | dict.fromkeys(untuned, 1)
  for line in made[1]:
    assert line["ci95_cluster"] > 0
    assert line["trials"] == trials.get(line["method"], 2)
    paired = line["method"] != "generated"
    assert (line["paired_ci95_cluster"] is not None) is paired
    assert (line["value"], line["metric"]) == (line["accuracy"], "accuracy")
    if line["method"] in CONFIG.generators:
      assert len(line["settings"]["minus_prototypes"]) == 3


def test_every_phase_is_logged(made: Any):
  """Losses of every phase, validation when it is due: single-level training takes J = 2
  times the steps."""
  lines = _lines(made[0] / "metrics.jsonl")
  assert {line["phase"] for line in lines} == {"backbone", *CONFIG.generators}
  for name, due in (("generated", [0, 2, 4]), ("generated_single_level", [0, 4, 8])):
    looks = [line for line in lines if line["phase"] == name and "val_3w1s" in line]
    assert [line["step"] for line in looks] == due
    losses = [line for line in lines if line["phase"] == name and "loss" in line]
    assert losses[-1]["step"] == due[-1]
    assert {"loss_1", "loss_2", "gap_1", "gradient"} <= losses[0].keys()


def test_a_second_call_makes_nothing_anew(made: Any):
  workdir, lines = made
  before = _content(workdir)
  assert run(CONFIG, workdir) == lines
  assert _content(workdir) == before


@pytest.mark.parametrize("left", [[2], []], ids=["continued", "from the start"])
def test_a_killed_generator_is_continued_bit_for_bit(
  made: Any, tmp_path: Path, left: list[int]
):
  """Its directory and newest checkpoint are gone, as if it had been killed at step 3; or
  all of them. Nothing else is made again."""
  workdir = tmp_path / "w"
  shutil.copytree(made[0], workdir)
  place = workdir / "seed_0"
  shutil.rmtree(place / "generator")
  for step in {2, 4} - set(left):
    shutil.rmtree(place / "checkpoints" / str(step))
  before = _lines(workdir / "metrics.jsonl")
  assert run(CONFIG, workdir) == made[1]
  again, first = load_generator(workdir), load_generator(made[0])
  chex.assert_trees_all_equal(again, first, strict=True)
  new = _lines(workdir / "metrics.jsonl")[len(before) :]
  assert {line["phase"] for line in new} == {"generated"}
  begin = min(line["step"] for line in new if "loss" in line)
  assert begin > max([0, *left])


def test_the_budget_of_a_continued_generator_is_that_of_all_its_stretches(
  made: Any, tmp_path: Path
):
  """`budget_s` is what training took, not what its last stretch took."""
  workdir = tmp_path / "w"
  shutil.copytree(made[0], workdir)
  shutil.rmtree(workdir / "seed_0" / "generator")
  shutil.rmtree(workdir / "seed_0" / "checkpoints" / "4")
  before = _lines(workdir / "metrics.jsonl")
  run(CONFIG, workdir)
  new = _lines(workdir / "metrics.jsonl")[len(before) :]
  kept = [line for line in before if line["phase"] == "generated" and line["step"] <= 2]
  total = sum(line.get("seconds", 0) for line in kept + new)
  path = workdir / "seed_0" / "generator" / "generator.json"
  assert json.loads(path.read_text())["about"]["seconds"] == pytest.approx(total)


def test_a_loaded_generator_generates(made: Any):
  """`load_generator` of the workdir finds the main one, and its weights classify as the
  frozen backbone and the head under them."""
  generator = load_generator(made[0])
  assert generator.spec.base == "none"
  x = np.asarray(load_splits(CONFIG.data).test.x[:6:2], np.float32) / 255
  params = generate(generator, Support(jnp.asarray(x), jnp.arange(3)), jax.random.key(0))
  logits = generator.network.apply(params, jnp.asarray(x))
  assert logits.shape == (3, 3)
  assert np.isfinite(logits).all()
  other = load_generator(made[0] / "seed_0" / "generated_delta" / "generator")
  assert other.spec.base == "prototypes"


def test_another_config_is_refused_by_the_settings_name(made: Any):
  before = _content(made[0])
  with pytest.raises(InputError, match=r"another config \(config\.meta\.rate differ\)"):
    run(_group("meta", rate=0.5), made[0])
  assert _content(made[0]) == before


def test_a_workdir_in_use_is_refused(made: Any):
  held = exclusive(as_path(made[0]))
  with held, pytest.raises(InputError, match="in use by another process"):
    run(CONFIG, made[0])


def test_mixed_forms_of_task(made: Any, tmp_path: Path):
  """Ways 3 and 5, shots 1 and 2: every combination has its lines, those of one rival here;
  a bank serves both numbers of shots; the backbone may lie elsewhere and is not made
  again."""
  rivals = lambda *call: HEADS_USE.rivals(*call)._replace(tunable=(RIDGE,), fixed=())  # noqa: E731
  config = dataclasses.replace(
    CONFIG,
    meta=dataclasses.replace(CONFIG.meta, ways=(3, 5), shots=(1, 2), support="kept"),
    generators=("generated",),
    evaluation=dataclasses.replace(CONFIG.evaluation, trials=1),
    backbone_dir=str(made[0] / "backbone"),
  )
  workdir = tmp_path / "w"
  lines = run(config, workdir, HEADS_USE._replace(rivals=rivals))
  found = [(line["ways"], line["shots"], line["method"]) for line in lines]
  assert found == [
    (ways, shots, method)
    for ways in (3, 5)
    for shots in (1, 2)
    for method in ("generated", "ridge", *CONTROLS)
  ]
  assert len(list((workdir / "bank").iterdir())) == 2
  assert not (workdir / "backbone").exists()
  metrics = _lines(workdir / "metrics.jsonl")
  assert {line["phase"] for line in metrics} == {"generated"}
  looks = [line for line in metrics if "val_5w2s" in line]
  assert {"val_3w1s", "val_3w2s", "val_5w1s", "norm_5w2s"} <= looks[0].keys()
  generator = load_generator(workdir)
  assert (generator.spec.family.ways, generator.spec.family.shots) == ((3, 5), (1, 2))
  support = Support(jnp.zeros((3, 28, 28, 1)), jnp.arange(3))
  with pytest.raises(InputError, match="ways is not given"):
    generate(generator, support, jax.random.key(0))


def test_rows_without_segments(made: Any, tmp_path: Path):
  """k1 and naive targets on the bank of the others; one schedule for all. The naive scale
  is that of all targets, as `generated` has it; that of k1 is that of the last. At a rate
  and a temperature of their own, which the lines tell."""
  generators = ("generated", "k1", "naive_targets")
  evaluation = {"trials": 1, "generator_rates": (2.0,), "temperatures": (0.5,)}
  config = dataclasses.replace(
    CONFIG,
    generators=generators,
    evaluation=dataclasses.replace(CONFIG.evaluation, **evaluation),
    backbone_dir=str(made[0] / "backbone"),
    bank_dir=str(made[0] / "bank"),
  )
  lines = run(config, tmp_path / "w")
  assert len(list((made[0] / "bank").iterdir())) == 1
  place = tmp_path / "w" / "seed_0"
  found = {
    name: load_generator(place / ("" if name == "generated" else name) / "generator")
    for name in generators
  }
  alpha = np.asarray(found["generated"].schedule.alpha)
  for name in ("k1", "naive_targets"):
    np.testing.assert_array_equal(found[name].schedule.alpha, alpha)
    assert found[name].spec.diffusion.segments == 1
  scale = {name: np.asarray(g.space.scale) for name, g in found.items()}
  np.testing.assert_allclose(scale["naive_targets"], scale["generated"], rtol=1e-6)
  assert (scale["k1"] > 1.05 * scale["generated"]).all()
  for line in lines[:3]:
    assert {"rate_factor": 2.0, "temperature": 0.5}.items() <= line["settings"].items()
  phases = {line["phase"] for line in _lines(tmp_path / "w" / "metrics.jsonl")}
  assert phases == {f"{name}, rate × 2" for name in generators}


def test_features_of_all_four_turns(tmp_path: Path):
  """With rotations, class c + r·C of every split is class c turned; the upright test
  classes are the first C. What is embedded once is read from disk, the same."""
  config = _group("data", rotations=True)
  splits, directory = load_splits(config.data), as_path(tmp_path)
  metrics = directory / "metrics.jsonl"
  backbone = prepare_backbone(config, splits, directory, metrics, 0)
  features = embed_splits(config, splits, backbone)
  assert [items.classes for items in features] == [48, 32, 32, 8]
  apply = jax.jit(backbone.network.apply)
  item = int(features.test.index[3 + 2 * 8, 1])  # the second drawing of class 3, r = 2
  turned = np.rot90(np.asarray(splits.test.x)[splits.test.index[3, 1]], 2)[None] / 255
  expected = apply(backbone.params, jnp.asarray(turned, jnp.float32))[0]
  np.testing.assert_allclose(features.test.x[item], expected, rtol=1e-3, atol=1e-5)
  np.testing.assert_array_equal(features.upright_test.index, features.test.index[:8])
  logged = metrics.read_bytes()
  again = prepare_backbone(config, splits, directory, metrics, 0)
  assert again.digest == backbone.digest
  assert metrics.read_bytes() == logged
  chex.assert_trees_all_equal(embed_splits(config, splits, backbone), features)


REFUSED: dict[str, tuple[Callable[[], Config], str]] = {
  "k > M": (
    lambda: _group("preparation", steps=1),
    r"config\.diffusion\.segments is 2.*M = 1",
  ),
  "k > T": (
    lambda: _group("diffusion", steps=1),
    r"config\.diffusion\.segments is 2.*T = 1",
  ),
  "classes": (lambda: _group("meta", ways=(9,)), "val split has 8 classes.*9-way"),
  "images": (
    lambda: _group("evaluation", queries=6),
    "class of the val split has 6 images.*needs 7",
  ),
  "support drawn anew": (
    lambda: _group("preparation", prepare_on="support"),
    r"config\.meta\.support is 'redrawn'.*on their support need 'kept'",
  ),
  "items to prepare on": (
    lambda: dataclasses.replace(
      CONFIG,
      preparation=PreparationConfig(prepare_on="support_and_query", queries=6),
      meta=dataclasses.replace(CONFIG.meta, support="kept"),
    ),
    "class of the train split has 6 images.*needs 7",
  ),
  "items for the query loss": (
    lambda: dataclasses.replace(
      _group("finishing", queries=6), generators=("generated", "generated_finished")
    ),
    "class of the train split has 6 images.*needs 7",
  ),
  "classes of an episode": (
    lambda: _group("backbone", ways=14),
    r"config\.backbone\.ways is 14.*12 classes",
  ),
  "images of an episode": (
    lambda: _group("backbone", drawings=7),
    r"config\.backbone\.drawings is 7.*has 6 images",
  ),
  "generator": (
    lambda: dataclasses.replace(CONFIG, generators=("generatd",)),
    r"config\.generators is 'generatd'",
  ),
  "start of a generator": (
    lambda: dataclasses.replace(
      CONFIG, generators=("generated", "generated_delta_finished", "generated_delta")
    ),
    "generated_delta_finished: name before it what it starts from, generated_delta",
  ),
  "gradient to go on from": (
    lambda: dataclasses.replace(
      CONFIG, generators=("generated", "generated_finished", "generated_iterated")
    ),
    r"config\.score\.gradient is False: generated_iterated needs it",
  ),
  "seeds": (lambda: dataclasses.replace(CONFIG, seeds=(1, 1)), r"config\.seeds"),
  "path": (
    lambda: _group("data", source="npz", path="nowhere.npz"),
    r"config\.data\.path is 'nowhere\.npz', where there is no file.*--data",
  ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path, case: str):
  """And leaves nothing behind that would refuse the mended config."""
  make, said = REFUSED[case]
  with pytest.raises(InputError, match=said):
    run(make(), tmp_path / "w")
  assert not _content(tmp_path / "w")


def test_a_generator_is_named_once():
  with pytest.raises(InputError, match=r"config\.generators"):
    dataclasses.replace(CONFIG, generators=("generated", "generated"))


def _npz(path: Path, shape: tuple[int, ...]) -> DataConfig:
  """30 classes of 6 images each."""
  images = np.random.default_rng(0).integers(0, 256, (180, *shape)).astype(np.uint8)
  np.savez(path, images=images, labels=np.repeat(np.arange(30), 6))
  return DataConfig(source="npz", path=str(path))


@pytest.mark.parametrize(
  ("shape", "rotations"), [((8, 8, 1), False), ((20, 28, 1), True)], ids=["small", "wide"]
)
def test_images_that_do_not_fit_are_refused(
  tmp_path: Path, shape: tuple[int, ...], rotations: bool
):
  """Four poolings leave nothing of 8 pixels; only square images can be turned."""
  data = dataclasses.replace(_npz(tmp_path / "a.npz", shape), rotations=rotations)
  config = dataclasses.replace(CONFIG, data=data)
  with pytest.raises(InputError, match="images"):
    check_heads(config, load_splits(data))


def test_missing_data_is_a_file_not_found(tmp_path: Path):
  with pytest.raises(MissingError):
    run(_group("data", source="npz", path=""), tmp_path / "w")
