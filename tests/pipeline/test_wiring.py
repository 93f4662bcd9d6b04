"""What goes where in a whole run: seeds, splits, rotations, lines.

One run with two seeds, neither 0, and with rotations is made once for this module.
"""

import dataclasses
import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax import load_generator
from mcdi_jax.data import DataConfig, from_labels, load_splits
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import EvaluationConfig, draw_task, task_keys
from mcdi_jax.generator import ScoreConfig, generate_from_features
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.networks.head import apply_head
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.pipeline import Config, heads, run
from mcdi_jax.preparation import PreparationConfig

module = importlib.import_module("mcdi_jax.pipeline.run")

EVALUATION = EvaluationConfig(
  tasks=20, queries=2, trials=2, tuning_tasks=20, temperatures=(0.0, 1.0), latency=False
)
CONFIG = Config(
  data=DataConfig(glyph_classes=(12, 8, 8), glyph_drawings=6, rotations=True),
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
  finishing=FinishingConfig(steps=2, tasks=2, queries=2, validate_every=1, save_every=1),
  evaluation=EVALUATION,
  generators=("generated", "generated_finished"),
  seeds=(5, 6),
)
GENERATORS = ("generator", "generated_finished/generator")
PASSING = {"budget_s", "latency_ms", "seconds", "config"}  # of a line: not reproduced


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
  """Its pictures, which no other file depends on, are left out."""
  workdir = tmp_path_factory.mktemp("run") / "w"
  return workdir, _run(CONFIG, workdir)


def _run(config: Config, workdir: Path, splits: Any = None) -> list[dict[str, Any]]:
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(module, "_draw", lambda *_: None)
    if splits is not None:
      patch.setattr(heads, "read_images", lambda _: splits)
    return run(config, workdir)


def _facts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
  return [{k: v for k, v in line.items() if k not in PASSING} for line in lines]


def _metrics(workdir: Path) -> list[dict[str, Any]]:
  text = (workdir / "metrics.jsonl").read_text()
  return _facts([json.loads(line) for line in text.splitlines()])


def _trained(workdir: Path, seed: int) -> list[Any]:
  return [load_generator(workdir / f"seed_{seed}" / name) for name in GENERATORS]


def _differ(a: Any, b: Any) -> bool:
  return any(
    not np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_every_line_has_its_seed_and_there_is_one_of_each(made: Any):
  workdir, lines = made
  assert lines == [json.loads(x) for x in (workdir / "results.jsonl").open()]
  keys = [(x["seed"], x["protocol"], x["method"]) for x in lines]
  assert len(keys) == len(set(keys))
  of = {seed: [k[1:] for k in keys if k[0] == seed] for seed in (5, 6)}
  assert of[5] == of[6]
  assert len(of[5]) * 2 == len(keys)
  assert {k[0] for k in of[5]} == {"glyphs-8", "glyphs-8-rotated"}
  seeds = {(x["phase"], x["seed"]) for x in _metrics(workdir)}
  phases = ("backbone", *CONFIG.generators)
  assert seeds == {(phase, seed) for phase in phases for seed in (5, 6)}


def test_each_seed_trains_everything_of_its_own(made: Any):
  """Another backbone, another bank on it, other generators, other outcomes."""
  workdir, lines = made
  assert len(list((workdir / "backbone").iterdir())) == 2
  assert len(list((workdir / "bank").iterdir())) == 2
  for a, b in zip(_trained(workdir, 5), _trained(workdir, 6), strict=True):
    assert _differ(a.frozen, b.frozen)
    assert _differ(a.space.scale, b.space.scale)
    assert _differ(a.score, b.score)
  logged = [
    [x["loss"] for x in _metrics(workdir) if x["phase"] == "backbone" and x["seed"] == s]
    for s in (5, 6)
  ]
  assert logged[0] != logged[1]
  assert len({x["config"] for x in lines}) == 2


def test_a_seed_is_the_same_alone_as_behind_another(
  made: Any, tmp_path: Path, capsys: pytest.CaptureFixture
):
  """With the same settings, which the first seed chooses and the hash of its lines tells;
  and each of its stages says when it ends how long it took."""
  workdir, lines = made
  shutil.copytree(workdir / "tuning", tmp_path / "w" / "tuning")
  alone = _run(dataclasses.replace(CONFIG, seeds=(6,)), tmp_path / "w")
  for a, b in zip(_trained(workdir, 6), _trained(tmp_path / "w", 6), strict=True):
    chex.assert_trees_all_equal(a, b, strict=True)
  right = lambda lines: [  # noqa: E731 (the first seed chooses the others' settings)
    (x["method"], x["protocol"], x["seed"], x["correct"])
    for x in lines
    if x["method"] in CONFIG.generators
  ]
  assert right(alone) == right([line for line in lines if line["seed"] == 6])
  assert _metrics(tmp_path / "w") == [x for x in _metrics(workdir) if x["seed"] == 6]
  said = re.findall(r"^(\w+): \d+ s$", capsys.readouterr().out, re.MULTILINE)
  stages = ["backbone", "features", "bank", *CONFIG.generators, "evaluation", "pictures"]
  assert said == [*stages, "total"]
  assert not {x["config"] for x in alone} & {x["config"] for x in lines}


@pytest.mark.parametrize("seed", [5, 6])
def test_the_lines_are_what_the_saved_generators_get_right(made: Any, seed: int):
  """From the images, turned here, through the generator's own backbone: upright lines on
  the test classes as they are, rotated ones with all four turns as classes."""
  workdir, lines = made
  images = np.asarray(load_splits(CONFIG.data).test.x)
  labels = np.repeat(np.arange(8), 6)
  turned = np.concatenate([np.rot90(images, r, axes=(1, 2)) for r in range(4)])
  sets = {
    "glyphs-8": (images, labels),
    "glyphs-8-rotated": (turned, np.concatenate([labels + 8 * r for r in range(4)])),
  }
  keys = task_keys(CONFIG.evaluation.eval_seed, CONFIG.evaluation.tasks)
  found = {}
  for name, generator in zip(CONFIG.generators, _trained(workdir, seed), strict=True):
    embed = jax.jit(generator.spec.family.embed)

    @jax.jit
    def right(key: Any, items: Any, generator: Any, temperature: Any) -> Any:
      task, _, k_method = draw_task(key, generator.family, items, CONFIG.forms[0])
      settings = {"temperature": temperature, "ways": 3}
      params = generate_from_features(generator, task.support, k_method, **settings)
      return (apply_head(params, task.query.x).argmax(-1) == task.query.y).sum()

    for protocol, (x, y) in sets.items():
      features = embed(generator.frozen, jnp.float32(x) / 255)
      items = jax.tree.map(jnp.asarray, from_labels(np.asarray(features), y))
      (line,) = (
        line
        for line in lines
        if (line["seed"], line["method"], line["protocol"]) == (seed, name, protocol)
      )
      temperature = line["settings"]["temperature"]
      total = sum(int(right(key, items, generator, temperature)) for key in keys)
      # Features differ in the last digits, which may turn one answer.
      assert abs(total - line["correct"]) <= 1, (name, protocol)
      found[name, protocol] = total
  assert len(set(found.values())) > 1  # not in vain


def test_a_resume_doubles_no_line(made: Any, tmp_path: Path):
  """As it is; without a seed's results; with half of them, or some of their lines: what is
  not whole is made again."""
  workdir, lines = made
  shutil.copytree(workdir, tmp_path / "w")
  workdir, path = tmp_path / "w", tmp_path / "w" / "seed_6" / "results.json"
  whole = path.read_bytes()
  assert _run(CONFIG, workdir) == lines
  content = json.loads(whole)
  some = json.dumps({**content, "lines": content["lines"][:-2]}).encode()
  for left in (None, whole[: len(whole) // 2], some, b"[]"):
    path.write_bytes(left) if left is not None else path.unlink()
    (workdir / "results.jsonl").write_text('{"method": "gen')
    assert _run(CONFIG, workdir) == lines
    assert path.read_bytes() == whole
    assert lines == [json.loads(x) for x in (workdir / "results.jsonl").open()]


def test_a_cut_log_is_no_obstacle(made: Any, tmp_path: Path):
  """Half a line, as a kill leaves it, is met before and not after the training."""
  workdir, lines = made
  shutil.copytree(workdir, tmp_path / "w")
  with (tmp_path / "w" / "metrics.jsonl").open("a") as f:
    f.write('{"phase": "gener')
  shutil.rmtree(tmp_path / "w" / "seed_6" / "generator")
  assert _facts(_run(CONFIG, tmp_path / "w")) == _facts(lines)


def _garbage(items: Any) -> Any:
  luck = np.random.default_rng(1).integers(0, 256, items.x.shape)
  return items._replace(x=luck.astype(np.uint8))


def _bank(workdir: Path) -> dict[str, bytes]:
  found = [p for p in (workdir / "bank").rglob("*") if p.is_file()]
  assert found
  return {str(p.relative_to(workdir)): p.read_bytes() for p in found}


def test_nothing_is_chosen_by_the_test_classes(made: Any, tmp_path: Path):
  """With noise for test images and NaN for their features, training, selection and tuning
  come out the same; the figures do not."""
  workdir, lines = made
  splits = load_splits(CONFIG.data)
  embed_splits = heads.embed_splits

  def poisoned(*arguments: Any) -> Any:
    found = embed_splits(*arguments)
    nan = lambda items: items._replace(x=jnp.full_like(items.x, jnp.nan))  # noqa: E731
    return found._replace(test=nan(found.test), upright_test=nan(found.upright_test))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(heads, "embed_splits", poisoned)
    other = _run(CONFIG, tmp_path / "w", splits._replace(test=_garbage(splits.test)))
  for seed in CONFIG.seeds:
    chex.assert_trees_all_equal(
      _trained(tmp_path / "w", seed), _trained(workdir, seed), strict=True
    )
  assert _metrics(tmp_path / "w") == _metrics(workdir)
  assert _bank(tmp_path / "w") == _bank(workdir)
  chosen = lambda lines: [  # noqa: E731
    {k: v for k, v in x["settings"].items() if not k.startswith("minus_")} for x in lines
  ]
  assert chosen(other) == chosen(lines)
  assert [x["accuracy"] for x in other] != [x["accuracy"] for x in lines]


def test_the_validation_classes_train_nothing(made: Any, tmp_path: Path):
  """With noise for their images, backbones, banks and losses come out the same; what is
  looked at on them does not."""
  workdir, _ = made
  splits = load_splits(CONFIG.data)
  _run(CONFIG, tmp_path / "w", splits._replace(val=_garbage(splits.val)))
  assert _bank(tmp_path / "w") == _bank(workdir)
  for seed in CONFIG.seeds:
    one, other = _trained(tmp_path / "w", seed)[0], _trained(workdir, seed)[0]
    chex.assert_trees_all_equal(one.frozen, other.frozen, strict=True)
  own = {"generated", "backbone"}  # finishing starts from what validation has chosen

  def losses(place: Path) -> list[dict[str, Any]]:
    return [x for x in _metrics(place) if x["phase"] in own and "loss" in x]

  assert losses(tmp_path / "w") == losses(workdir)
  assert _metrics(tmp_path / "w") != _metrics(workdir)
