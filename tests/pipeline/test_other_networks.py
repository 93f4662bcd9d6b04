"""The whole chain for other networks than heads: fields, whole classifiers, and one of a
user's own."""

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from safetensors.numpy import load_file

from configs import sines
from mcdi_jax import Support, generate, load_generator
from mcdi_jax.data import DataConfig, load_splits
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import KEYS, EvaluationConfig, draw_task, task_keys
from mcdi_jax.families import Fields
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import stage
from mcdi_jax.meta import FinishingConfig, InitialConfig, MetaConfig
from mcdi_jax.pipeline import Config, own_use, run
from mcdi_jax.pipeline.bank import prepare_banks
from mcdi_jax.pipeline.run import USES
from mcdi_jax.pipeline.use_config import FieldsConfig, NetworksConfig
from mcdi_jax.preparation import PreparationConfig, import_bank
from mcdi_jax.weights import save_weights

COMMON: dict[str, Any] = {
  "base": "init",
  "preparation": PreparationConfig(
    tasks=8, steps=6, rate=0.03, epsilon=1e-8, queries=4, shard_tasks=8
  ),
  "diffusion": DiffusionConfig(steps=3, schedule="linear_auto"),
  "score": ScoreConfig("tokens", width=8, layers=1, heads=2),
  "meta": MetaConfig(
    steps=2,
    tasks=2,
    draws=2,
    inner_steps=2,
    ways=(1,),
    validate_every=2,
    validation_tasks=4,
  ),
  "finishing": FinishingConfig(steps=2, tasks=2, queries=2, feature_noise=0.0),
  "evaluation": EvaluationConfig(
    tasks=6,
    queries=3,
    trials=2,
    tuning_tasks=6,  # as many as `tasks`: compiled once
    temperatures=(0.0,),
    descent_steps=(1, 30),
    refine_steps=(2,),
    without=("*/bias",),
    samples=2,
    latency=False,
  ),
  "precondition": 0.1,
  "generators": ("generated", "generated_finished"),
}
FIELDS = Config(
  family="fields",
  data=DataConfig(glyph_classes=(4, 2, 3), glyph_drawings=2),
  fields=FieldsConfig(frequencies=4, hidden=3),
  **COMMON,
)
EQUIVARIANT = {"score": ScoreConfig(), "precondition": 0.0}
CONTROLS = [
  "shuffled_condition", "shuffled_generated_finished", "mean_of_bank", "nearest_of_bank",
  "generated_without_*/bias",
  "generated_at_tau_1", "generated_at_equal_spread",
]  # fmt: skip
REFINED = ["refined_generated_2", "refined_init_2"]
ROWS = [
  "generated", "generated_finished", "descent_1", "descent_30", *REFINED, *CONTROLS
]  # fmt: skip


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
  workdir = tmp_path_factory.mktemp("fields") / "w"
  return workdir, run(FIELDS, workdir)


def test_a_run_of_fields_compares_all_on_unseen_images(fields: Any):
  """In decibels, clustered by class; nothing has ways, queries or right answers."""
  _, lines = fields
  assert [line["method"] for line in lines] == ROWS
  for line in lines:
    assert tuple(line) == KEYS
    assert (line["family"], line["metric"]) == ("fields", "PSNR")
    assert line["protocol"] == "glyphs-3" and line["tasks"] == 6
    assert np.isfinite([line["value"], line["ci95"], line["ci95_cluster"]]).all()
    absent = ("ways", "shots", "queries", "correct", "total", "accuracy", "backbone")
    assert [line[name] for name in absent] == [None] * len(absent)
  of = {line["method"]: line["value"] for line in lines}
  assert of["descent_30"] > of["descent_1"] + 1
  generated = lines[0]["settings"]
  assert (generated["base"], generated["weights"]) == ("init", 8 * 3 + 3 + 3 + 1)
  assert "minus_prototypes" not in generated and len(generated["minus_descent_30"]) == 3


def test_the_line_is_what_the_saved_generator_holds(fields: Any):
  """Of images of test classes, drawn as the lines' tasks are."""
  workdir, lines = fields
  generator = load_generator(workdir)
  family = generator.family
  images = jax.tree.map(jnp.asarray, load_splits(FIELDS.data).test)
  items = family.items(generator.frozen, images)
  values = []
  for key in task_keys(FIELDS.evaluation.eval_seed, 6):
    task, _, _ = draw_task(key, family, items, FIELDS.forms[0])
    image = task.query.y.reshape(family.image_shape)
    params = generate(generator, family.as_support(image), key)
    error = np.mean((generator.network.apply(params, family.places()) - task.query.y) ** 2)
    values.append(-10 * np.log10(error))
  np.testing.assert_allclose(np.mean(values), lines[0]["value"], rtol=1e-4)


def test_the_page_shows_reconstructions(fields: Any):
  workdir, _ = fields
  page = (workdir / "report.html").read_text()
  assert "Reconstructions" in page
  for name in ("generated", "generated_finished", "PSNR in dB"):
    assert name in page
  assert "accuracy" not in re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"meta": MetaConfig(ways=(2,))}, r"config\.meta\.ways is \(2,\)"),
    (EQUIVARIANT, r"config\.score\.network is 'equivariant'"),
    ({"finishing": FinishingConfig()}, r"config\.finishing\.feature_noise is 0\.5"),
    ({"generators": ("generated", "generated_delta")}, r"no prototypes of an image"),
    ({"data": DataConfig(rotations=True)}, r"config\.data\.rotations"),
    (
      {"base": "renormalised"},
      r"config\.base is 'renormalised': fields have the bases \['none', 'init'\]",
    ),
    (
      {"score": dataclasses.replace(FIELDS.score, facts=True)},
      r"config\.score\.facts is True: fields have none, set it to False",
    ),
    ({"base": "none"}, r"config\.evaluation\.without is \('\*/bias',\): .*choose 'init'"),
  ],
)
def test_settings_that_fields_do_not_have_are_named(
  changes: dict[str, Any], said: str, tmp_path: Path
):
  with pytest.raises(InputError, match=said):
    run(dataclasses.replace(FIELDS, **changes), tmp_path / "w")


NETWORKS = Config(
  family="networks",
  data=DataConfig(glyph_classes=(6, 4, 5), glyph_drawings=6, rotations=True),
  networks=NetworksConfig(width=4),
  initial=InitialConfig(steps=2, tasks=2, inner_steps=2),
  **{
    **COMMON,
    "score": ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True, summary=0),
    "meta": dataclasses.replace(COMMON["meta"], ways=(3,)),
    "evaluation": dataclasses.replace(COMMON["evaluation"], descent_steps=(1,)),
  },
)


RIDGE_TOO = dataclasses.replace(COMMON["evaluation"], refine_from=("ridge",))
NO_SUCH_LEAF = dataclasses.replace(COMMON["evaluation"], without=("block/*",))
NONE_TOO = dataclasses.replace(COMMON["evaluation"], refine_from=("none",))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
  workdir = tmp_path_factory.mktemp("networks") / "w"
  return workdir, run(NETWORKS, workdir)


def test_a_run_of_whole_networks_compares_all_on_unseen_classes(networks: Any):
  """Upright and rotated; prototypes of θ_0's features are a rival."""
  workdir, lines = networks
  rows = [*ROWS[:3], *REFINED, "prototypes", *CONTROLS]
  assert [line["method"] for line in lines] == 2 * rows
  protocols = [name for name in ("glyphs-5", "glyphs-5-rotated") for _ in rows]
  assert [line["protocol"] for line in lines] == protocols
  for line in lines:
    assert (line["family"], line["metric"]) == ("networks", "accuracy")
    assert line["total"] == 6 * 3 * 3 and line["backbone"] is None
  generated = lines[0]["settings"]
  blocks = 9 * 4 + 3 * 9 * 16 + 8 * 4
  assert generated["weights"] == blocks + 3 * 5
  assert len(generated["minus_prototypes"]) == 3
  assert "accuracy" in (workdir / "report.html").read_text()


def test_the_trained_init_is_what_the_bank_starts_from_and_the_generator_keeps(
  networks: Any,
):
  """It is found again, not trained again, and is not the one that was drawn."""
  workdir, lines = networks
  logged = (workdir / "metrics.jsonl").read_bytes()
  assert run(NETWORKS, workdir) == lines
  assert (workdir / "metrics.jsonl").read_bytes() == logged
  phases = [json.loads(line)["phase"] for line in logged.splitlines()]
  assert phases[0] == "θ_0"
  generator = load_generator(workdir)
  drawn = generator.family.init_frozen(key_for(NETWORKS.preparation.seed, "frozen part"))
  kernels = [f["init"]["blocks"]["0"]["kernel"] for f in (generator.frozen, drawn)]
  assert not np.allclose(*kernels)
  shards = list((workdir / "bank").glob("*/shard-*.safetensors"))
  moved = load_file(shards[0])["weights/blocks/0/kernel"] - np.asarray(kernels[0])
  from_drawn = load_file(shards[0])["weights/blocks/0/kernel"] - np.asarray(kernels[1])
  assert np.mean(moved[:, 0] ** 2) < np.mean(from_drawn[:, 0] ** 2)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    (EQUIVARIANT, r"config\.score\.network is 'equivariant'"),
    ({"preparation": PreparationConfig(tasks=8, augment_copies=1)}, "augment_copies is 1"),
    ({"meta": dataclasses.replace(COMMON["meta"], ways=(9,))}, "4 classes: 9-way"),
    ({"evaluation": RIDGE_TOO}, r"refine_from is \('ridge',\): networks have the bases"),
    ({"evaluation": NO_SUCH_LEAF}, r"without is 'block/\*': it fits no leaf, there are"),
    ({"evaluation": NONE_TOO}, r"refine_from is \('none',\): .* the generators \['gener"),
    (
      {"generators": ("generated", "generated_delta"), "delta_base": "ridge"},
      r"config\.delta_base is 'ridge': networks have the bases",
    ),
  ],
)
def test_settings_that_networks_do_not_have_are_named(
  changes: dict[str, Any], said: str, tmp_path: Path
):
  changed = dataclasses.replace(NETWORKS, **changes)
  with pytest.raises(InputError, match=said):
    run(changed, tmp_path / "w")


def test_heads_have_no_init_that_is_trained():
  with pytest.raises(InputError, match=r"config\.initial\.steps is 5: heads have no θ_0"):
    Config(initial=InitialConfig(steps=5))


OWN = Config(family="own", **{**COMMON, "precondition": 0.0, "meta": MetaConfig(
  steps=2, tasks=2, draws=2, inner_steps=2, ways=(1,), shots=(5,), validate_every=2,
  validation_tasks=4,
)})  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
  workdir = tmp_path_factory.mktemp("own") / "w"
  return workdir, run(OWN, workdir, own_use(sines.FAMILY, sines.get_suite))


def test_a_family_of_ones_own_runs_through_the_chain(own: Any):
  """And is continued, with nothing done again; its page is written."""
  workdir, lines = own
  assert [line["method"] for line in lines] == ROWS
  assert {line["family"] for line in lines} == {"sines"}
  assert {line["metric"] for line in lines} == {"−loss"}
  assert lines[0]["ci95_cluster"] is None
  assert json.loads((workdir / "data.json").read_text())["name"] == "sines"
  logged = (workdir / "metrics.jsonl").read_bytes()
  assert run(OWN, workdir, own_use(sines.FAMILY, sines.get_suite)) == lines
  assert (workdir / "metrics.jsonl").read_bytes() == logged
  assert "sines" in (workdir / "report.html").read_text()


def test_a_generator_of_ones_own_is_loaded_with_its_class(own: Any):
  workdir, _ = own
  with pytest.raises(InputError, match=r"family 'sines'.*load_generator\(…, family=…\)"):
    load_generator(workdir)
  generator = load_generator(workdir, family=sines.Sines)
  assert generator.family.shots == (5,)
  x = jnp.linspace(-3, 3, 5)[:, None]
  params = generate(generator, Support(x, jnp.sin(x[:, 0])), jax.random.key(0))
  assert generator.network.apply(params, x).shape == (5,)


def test_other_items_are_another_run(own: Any):
  workdir, _ = own
  changed = lambda: sines.get_suite()._replace(val=np.ones((3, 2), np.float32))  # noqa: E731
  with pytest.raises(InputError, match="another config"):
    run(OWN, workdir, own_use(sines.FAMILY, changed))


def test_get_suite_may_ask_for_the_config():
  """Such as for the data that `--data` names."""
  asked = []

  def get_suite(config: Config) -> Any:
    asked.append(config.data.path)
    return sines.get_suite()

  config = dataclasses.replace(OWN, data=DataConfig(source="npz", path="a.npz"))
  own_use(sines.FAMILY, get_suite).load(config)
  assert asked == ["a.npz"]


def test_a_family_without_layers_has_none_to_precondition(tmp_path: Path):
  with pytest.raises(InputError, match=r"precondition is 0\.1: sines name no layers"):
    changed = dataclasses.replace(OWN, precondition=0.1)
    run(changed, tmp_path / "w", own_use(sines.FAMILY, sines.get_suite))


def test_an_aligned_bank_is_nearer_to_theta_0_and_as_good(tmp_path: Path):
  """Of fields from a θ_0 of their own; the same functions."""
  preparation = dataclasses.replace(FIELDS.preparation, init_scale=1.0, shared_init=False)
  config = dataclasses.replace(FIELDS, preparation=preparation)
  use = USES["fields"]
  data = use.load(config)
  prepared = use.prepare(config, data, 0, as_path(tmp_path), stage)
  found = {}
  for align in (False, True):
    own = dataclasses.replace(config, align=align)
    found[align] = prepare_banks(own, prepared, as_path(tmp_path / "bank")).at(0).bank
  init = prepared.frozen["init"]

  def distance(bank: Any) -> float:
    squares = jax.tree.map(lambda a, b: jnp.sum((a[:, -1] - b) ** 2), bank.weights, init)
    return float(sum(jax.tree.leaves(squares)))

  assert distance(found[True]) < 0.99 * distance(found[False])
  outputs = [
    prepared.family.apply(
      prepared.frozen,
      jax.tree.map(lambda leaf: leaf[3, 0], found[align].weights),
      prepared.suite.train.places,
    )
    for align in (False, True)
  ]
  np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
  two = dataclasses.replace(config.meta, shots=(1, 2))
  shared = dataclasses.replace(config, align=True, meta=two)
  source = prepare_banks(shared, prepared, as_path(tmp_path / "bank")).at(0)
  assert source.bank.size == found[True].size  # one bank serves both, and is held once
  with pytest.raises(InputError, match=r"config\.align is True: sines name no hidden"):
    changed = dataclasses.replace(OWN, align=True)
    run(changed, tmp_path / "w", own_use(sines.FAMILY, sines.get_suite))
  with pytest.raises(InputError, match=r"feature_power is 2\.0: sines have no features"):
    varied = dataclasses.replace(OWN.finishing, feature_power=2.0)
    changed = dataclasses.replace(OWN, finishing=varied)
    run(changed, tmp_path / "w", own_use(sines.FAMILY, sines.get_suite))


def test_a_config_without_its_file_is_told_so(tmp_path: Path):
  with pytest.raises(InputError, match=r"config\.family is 'own'.*FAMILY and get_suite"):
    run(OWN, tmp_path / "w")


@pytest.fixture
def run_command() -> Iterator[Any]:
  """`mcdi-run`, whose flags go again."""
  before = set(flags.FLAGS)
  sys.modules.pop("mcdi_jax.commands.run", None)
  yield importlib.import_module("mcdi_jax.commands.run")
  for name in set(flags.FLAGS) - before:
    delattr(flags.FLAGS, name)
  del sys.modules["mcdi_jax.commands.run"]


@pytest.mark.parametrize("name", ["sines", "moons", "springs", "million", "quickstart"])
def test_a_config_file_may_define_a_use(name: str, run_command: Any):
  root = Path(__file__).parents[2]
  found = run_command._use_of(str(root / "configs" / f"{name}.py"))
  assert (found is None) is (name == "quickstart")


def test_a_run_on_an_imported_bank(own: Any, tmp_path: Path):
  """Its weights are those of the checkpoints; another network's are refused."""
  for n in range(4):
    for i in (1, 2, 3):
      params = sines.FAMILY.fresh(jax.random.key(n))
      params = jax.tree.map(lambda x, i=i: i * x, params)
      save_weights(tmp_path / "s" / str(n) / f"{i}.safetensors", params)
  import_bank(as_path(tmp_path / "s"), as_path(tmp_path / "bank"))
  config = dataclasses.replace(OWN, imported_bank=str(tmp_path / "bank"))
  use = own_use(sines.FAMILY, sines.get_suite)
  prepared = use.prepare(config, use.load(config), 0, as_path(tmp_path), stage)
  source = prepare_banks(config, prepared, as_path(tmp_path / "none")).at(0)
  found = source.bank.weights["layer_1"]["kernel"]
  kernel = sines.FAMILY.fresh(jax.random.key(2))["layer_1"]["kernel"]
  np.testing.assert_allclose(found[2, 1], 2 * kernel, rtol=1e-6)
  four = DiffusionConfig(steps=8, segments=4, schedule="linear_auto")
  for wrong, said in (
    (
      dataclasses.replace(config, diffusion=four),
      "3 targets",
    ),
    (dataclasses.replace(config, family="fields"), "a bank of another network: its leaves"),
  ):
    other = prepared
    if wrong.family == "fields":
      family = Fields(image_shape=(4, 4, 1))
      other = prepared._replace(family=family, frozen=family.init_frozen(jax.random.key(0)))
    with pytest.raises(InputError, match=said):
      prepare_banks(wrong, other, as_path(tmp_path / "none"))
  tasks = {str(n): [n, n] for n in range(4)}
  import_bank(as_path(tmp_path / "s"), as_path(tmp_path / "pairs"), tasks)
  wrong = dataclasses.replace(config, imported_bank=str(tmp_path / "pairs"))
  with pytest.raises(InputError, match=r"tasks of shape \(2,\), those of sines are \(\)"):
    prepare_banks(wrong, prepared, as_path(tmp_path / "none"))


def test_a_bank_beyond_its_bytes_takes_turns(own: Any, tmp_path: Path, monkeypatch: Any):
  """Three shards, of which one is held at a time; each window stays for one step here."""
  module = importlib.import_module("mcdi_jax.pipeline.bank")
  monkeypatch.setattr(module, "_PERIOD", 1)
  preparation = dataclasses.replace(OWN.preparation, tasks=6, shard_tasks=2)
  config = dataclasses.replace(OWN, preparation=preparation, bank_bytes=1)
  use = own_use(sines.FAMILY, sines.get_suite)
  prepared = use.prepare(config, use.load(config), 0, as_path(tmp_path), stage)
  windows = prepare_banks(config, prepared, as_path(tmp_path / "bank"))
  numbers = [windows.at(step).number.tolist() for step in range(4)]
  assert numbers == [[0, 1], [2, 3], [4, 5], [0, 1]]
