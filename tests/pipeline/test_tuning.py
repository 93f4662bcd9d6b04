"""The tuner: which trial wins, what is kept of it, and for whom."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, WIDTH, make_generator, make_source

from mcdi_jax.data import from_labels
from mcdi_jax.evaluation import (
  EvaluationConfig,
  Facts,
  Latency,
  score,
  task_keys,
)
from mcdi_jax.generator import load_generator, save_generator
from mcdi_jax.lib.errors import DamagedError
from mcdi_jax.lib.files import as_path
from mcdi_jax.methods import HEADS, LogUniform, Method, Tunable, draw_settings
from mcdi_jax.networks.head import apply_head
from mcdi_jax.pipeline import Config, evaluation, tuning
from mcdi_jax.pipeline.config import GENERATORS
from mcdi_jax.pipeline.evaluation import _about_generator
from mcdi_jax.pipeline.generator import Material, Trained
from mcdi_jax.pipeline.tuning import Choice, Tuned, choose, tuned_baseline, tuned_generator
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol, Support

FORM = Protocol(WAYS, SHOTS, 4)
FAMILY = make_generator().family
RATES, TEMPERATURES = (0.3, 1.0, 3.0), (0.0, 0.5)


def _config(**changes: Any) -> Config:
  settings = {"tuning_tasks": 30, "queries": 4, **changes}
  config = Config(evaluation=EvaluationConfig(**settings))
  meta = dataclasses.replace(config.meta, ways=(WAYS,), shots=(SHOTS,))
  return dataclasses.replace(config, meta=meta)


@pytest.fixture(scope="module")
def val() -> Any:
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(6), 8)
  x = rng.normal(size=(6, WIDTH))[labels] + rng.normal(size=(48, WIDTH))
  return jax.tree.map(jnp.asarray, from_labels(np.float32(x), labels))


def _noisy_mean(noise: Any, support: Support, key: Any, ways: int) -> Any:
  x = support.x + noise * jax.random.normal(key, support.x.shape)
  mean = jax.ops.segment_sum(x, support.y, ways) / SHOTS
  params = {"head": {"kernel": mean.T, "bias": -0.5 * jnp.sum(mean**2, 1)}}
  return params


def _predict(variables: Any, params: Any, x: Any) -> Any:
  del variables
  return apply_head(params, x)


def _noisy(settings: dict[str, Any], given: Any = None) -> Method:
  del given
  return Method("noisy", _noisy_mean, _predict, jnp.float32(settings["noise"]), settings)


def test_the_trial_with_the_highest_accuracy_wins(val: Any, capsys: Any):
  """On the tuning tasks of the seed of the evaluation, the mean over forms; an edge is
  told."""
  config = _config()
  forms = [FORM, FORM._replace(ways=2)]
  space = {"noise": (30.0, 10.0, 1.0)}
  found = choose(config, "noisy", space, _noisy, forms, FAMILY, val)
  keys = task_keys(config.evaluation.eval_seed, 30, "tuning")
  means = []
  for noise in space["noise"]:
    call = ([_noisy({"noise": noise})], FAMILY, val)
    shares = [score(*call, form, keys)[0].values.mean() / 4 for form in forms]
    means.append(100 * np.mean(shares))
  assert np.argmax(means) == 2
  assert found == Choice({"noise": 1.0}, 3, ["noise"], pytest.approx(max(means)))
  assert "warning: noisy: noise = 1 lies at an edge" in capsys.readouterr().out


def test_trials_are_as_many_as_the_setting_says(val: Any):
  space = {"noise": LogUniform(0.1, 10.0)}
  rest = (_noisy, [FORM], FAMILY, val)
  assert choose(_config(trials=5), "noisy", space, *rest).trials == 5
  one = choose(_config(), "noisy", {"noise": (2.0,)}, *rest)
  assert one == Choice({"noise": 2.0}, 1, [], None)


def test_what_was_chosen_is_used_again(val: Any, tmp_path: Any):
  """Also by another seed, on other features, where another trial would win; another form
  of task chooses for itself. In every order, too: the lines of a continued run are those
  of one that nobody stopped."""
  tunable = Tunable("noisy", _noisy, {"noise": (0.5, 30.0), "beside": (0.0,)})
  call = (_config(), tunable, FORM, FAMILY, val, jnp.zeros(WIDTH), as_path(tmp_path))
  method, choice = tuned_baseline(*call)
  assert method.settings == choice.settings == {"noise": 0.5, "beside": 0.0}
  kept = json.loads((tmp_path / f"{WAYS}w{SHOTS}s" / "noisy.json").read_text())
  assert Choice(**kept) == choice
  poisoned = val._replace(x=val.x * jnp.nan)
  again = tuned_baseline(call[0], tunable, FORM, FAMILY, poisoned, *call[5:])
  assert json.dumps(again[1]) == json.dumps(choice)
  assert json.dumps(again[0].settings) == json.dumps(method.settings)
  for other in (FORM._replace(ways=2), FORM._replace(shots=1)):
    tuned_baseline(call[0], tunable, other, *call[3:])
  assert len(list(tmp_path.glob("*/noisy.json"))) == 3


@pytest.mark.parametrize(
  "change", [{"settings": None}, {"settings": []}, {"trials": None}, {}]
)
def test_a_choice_of_another_shape_is_damaged(val: Any, tmp_path: Any, change: Any):
  """None: it is not there; without any change, nothing is."""
  tunable = Tunable("noisy", _noisy, {"noise": (2.0,)})
  call = (_config(), tunable, FORM, FAMILY, val, jnp.zeros(WIDTH), as_path(tmp_path))
  tuned_baseline(*call)
  (place,) = tmp_path.glob("*/noisy.json")
  content = json.loads(place.read_text()) | change if change else {}
  content = {n: x for n, x in content.items() if n not in change or x is not None}
  place.write_text(json.dumps(content))
  with pytest.raises(DamagedError, match=r"noisy\.json .*delete it"):
    tuned_baseline(*call)


def test_every_baseline_has_its_full_number_of_trials_or_all_there_are():
  counts = {t.name: len(draw_settings(t.space, 24)) for t in HEADS}
  assert counts == {
    "prototypes": 6,
    "cosine": 2,
    "ridge": 24,
    "logistic": 24,
    "finetune": 24,
    "finetune_sgd": 24,
  }


class _Trainings:
  """Stands for `prepare_generator`: writes a generator whose scale says its rate."""

  def __init__(self) -> None:
    self.made: list[tuple[int, str, float]] = []

  def __call__(
    self,
    config: Any,
    name: str,
    seed: int,
    material: Any,
    place: Any,
    found: Any,
    rate: Any,
  ) -> Trained:
    directory = place / "generator"
    if not (directory / "generator.json").exists():
      self.made.append((seed, place.name, rate))
      generator = make_generator()
      space = dataclasses.replace(generator.space, scale=jnp.float32([rate, 1.0]))
      generator = dataclasses.replace(generator, space=space)
      save_generator(directory, generator, {"method": name, "seconds": 1.0})
    return Trained(load_generator(directory), 1.0)


def _material(val: Any, tmp_path: Any) -> Material:
  fields = dict.fromkeys(Material._fields)
  fields |= {"family": FAMILY, "val": val, "about": {}}
  return Material(**fields | {"metrics": as_path(tmp_path / "metrics.jsonl")})


def test_a_generator_is_trained_once_a_rate_and_by_other_seeds_at_the_chosen_one(
  val: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
  """Trials are rates × temperatures. The chosen generator lies where `load_generator`
  finds it; a run that is continued trains and tries nothing again."""
  trainings = _Trainings()
  monkeypatch.setattr(tuning, "prepare_generator", trainings)
  asked = []

  def made(name: str, generator: Any, temperature: float) -> Method:
    rate = float(generator.space.scale[0])
    asked.append((round(rate, 3), temperature))
    return _noisy({"noise": 30 * abs(np.log(rate / 3)) + temperature + 0.1})

  monkeypatch.setattr(tuning, "generated", made)
  config = _config(generator_rates=RATES, temperatures=TEMPERATURES)
  choices = as_path(tmp_path / "tuning")

  def run(seed: int) -> Tuned:
    place = as_path(tmp_path / f"seed_{seed}")
    return tuned_generator(
      config, "generated", seed, _material(val, tmp_path), place, {}, choices
    )

  first = run(5)
  assert asked == [(rate, t) for rate in RATES for t in TEMPERATURES]
  assert trainings.made == [(5, f"rate_{rate:g}", rate) for rate in RATES]
  assert first.choice.settings["rate_factor"] == 3.0
  assert (first.choice.trials, first.choice.at_edge[0]) == (6, "rate_factor")
  assert float(first.trained.generator.space.scale[0]) == 3.0
  kept = load_generator(tmp_path / "seed_5" / "generator")
  assert float(kept.space.scale[0]) == 3.0
  for seed in (5, 6):
    assert json.dumps(run(seed).choice) == json.dumps(first.choice)
  assert trainings.made[3:] == [(6, "seed_6", 3.0)]
  assert len(asked) == 6


def _tuned(generator: Any) -> Tuned:
  settings = {"rate_factor": 1.0, "temperature": 0.0}
  return Tuned(Trained(generator, 2.0), Choice(settings, 1, [], None))


@pytest.mark.parametrize("changed", [True, False])
def test_a_generator_that_is_its_start_is_marked(val: Any, changed: bool):
  start = make_generator()
  score = jax.tree.map(lambda leaf: leaf + changed, start.score)
  finished = dataclasses.replace(start, score=score)
  found = {"generated": _tuned(start), "generated_finished": _tuned(finished)}
  settings, values = _about_generator(Config(), "generated_finished", found, FORM, val)
  assert settings["finishing_temperature"] == 0.0
  assert ("unchanged_start" in settings) is not changed
  of_start, _ = _about_generator(Config(), "generated", found, FORM, val)
  assert not {"unchanged_start", "finishing_temperature"} & set(of_start)
  assert values["budget_s"] == 2.0


def test_all_rows_that_are_compared_have_one_chain_but_for_what_they_are_named_for():
  """k1 and naive targets: one segment, no hand-over, the sampler of the configured loss."""
  for objective, handover in (("windowed", 0.3), ("published", 0.0)):
    diffusion = dataclasses.replace(
      Config().diffusion, objective=objective, handover=handover
    )
    one = GENERATORS["k1"].chain(diffusion)
    assert one == dataclasses.replace(diffusion, segments=1, handover=0.0)
    naive = GENERATORS["naive_targets"].chain(diffusion)
    assert naive == dataclasses.replace(one, objective="naive", sampler=objective)
    assert naive.sampler_name == one.sampler_name == objective
  assert GENERATORS["generated"].chain(Config().diffusion) == Config().diffusion


@pytest.mark.parametrize("seed", [5, 6])
def test_every_method_is_timed_with_the_first_seed(
  val: Any, monkeypatch: pytest.MonkeyPatch, seed: int
):
  """From features, one task and 256; generators also from images, inside and outside. The
  seconds are shared by all."""
  seconds = []

  def measured(fn: Any, *_: Any, batch: int, seconds_: float) -> Latency:
    seconds.append(seconds_)
    return Latency(1.0, batch, 3, 0.1)

  monkeypatch.setattr(
    "mcdi_jax.evaluation.timing.measure",
    lambda fn, *a, batch, seconds: measured(fn, *a, batch=batch, seconds_=seconds),
  )
  monkeypatch.setattr(evaluation, "compare", lambda *_: [])
  config = dataclasses.replace(_config(latency_s=3.0), seeds=(5, 6))
  methods = [
    (tuning.generated("generated", make_generator(), 0.0), None),
    (_noisy({"noise": 1.0}), None),
  ]
  monkeypatch.setattr(evaluation, "methods_of", lambda *_: methods)
  monkeypatch.setattr(evaluation, "controls_of", lambda *_: [])
  facts = Facts("conv4-4", "highest", FAMILY, data="toys", seed=seed)
  suite, rivals = Suite(val, val, {"toys-6": val}, 6), Rivals((), None, ())
  found = {"generated": _tuned(make_generator())}
  call = (config, facts, found, make_source(), suite, rivals, as_path("unused"))
  lines = evaluation.evaluate(*call)
  times = [(x["method"], x["protocol"], x["batch"]) for x in lines]
  if seed == 6:
    assert times == []
    return
  assert times == [
    *((m, "latency-head", b) for m in ("generated", "noisy") for b in (1, 256)),
    *(("generated", f"latency-{p}", 1) for p in ("backbone", "public")),
  ]
  assert sum(seconds) == pytest.approx(3.0)
  assert all(x["latency_ms"] == 1 and x["accuracy"] is None for x in lines)
