"""Result lines, intervals, and the clock."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, WIDTH, make_generator

from mcdi_jax.evaluation import (
  KEYS,
  EvaluationConfig,
  Facts,
  Latency,
  Measure,
  Scores,
  Timing,
  batches,
  difference,
  estimate,
  latency_line,
  measure,
  metric_line,
  time_generation,
  time_methods,
  with_share_of_peak,
)
from mcdi_jax.evaluation.latency import median_error, program_flops
from mcdi_jax.families import Heads, Networks
from mcdi_jax.lib.errors import InputError
from mcdi_jax.methods import Method
from mcdi_jax.pipeline.tuning import generated
from mcdi_jax.tasks import Protocol, Support

# The list in design.md, in its order.
EXPECTED = (
  "method, data, protocol, ways, shots, queries, seed, eval_seed, tasks, correct, total, "
  "accuracy, ci95, paired_against, paired_diff, paired_ci95, backbone, transductive, "
  "parameters, latency_ms, batch, device, matmul_precision, budget_s, settings, config, "
  "versions, commit, family, metric, value, cluster, ci95_cluster, paired_ci95_cluster, "
  "trials"
)
FACTS = Facts(
  data="toys",
  seed=3,
  eval_seed=1234,
  backbone="conv4-4",
  config="0" * 64,
  matmul_precision="highest",
  family=Heads(image_shape=(16, 16, 1)),
)
FORM = Protocol(5, 1, 4)  # 20 queries a task
CLASSES = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 0], [2, 4, 6, 8, 1], [1, 3, 5, 7, 0]])
RIGHT = np.array([[4, 4, 4, 4, 4], [2, 2, 2, 2, 2], [3, 3, 3, 3, 3], [0, 1, 1, 1, 2]])
CORRECT = Scores(RIGHT, CLASSES)
GENERATED = Scores(np.minimum(RIGHT + CLASSES % 2, 4), CLASSES)


def _by_hand(values: Any) -> tuple[float, float]:
  mean = sum(values) / len(values)
  variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return mean, 1.96 * (variance / len(values)) ** 0.5


def test_the_keys_are_those_of_the_design():
  assert ", ".join(KEYS) == EXPECTED


def test_a_line_of_the_metric():
  measure = Measure(4, clusters=9)
  line = metric_line(
    FACTS,
    "generated",
    "toys-9",
    FORM,
    CORRECT,
    None,
    measure,
    parameters=7,
    trials=24,
    settings={"k": 3},
  )
  assert tuple(line) == KEYS
  mean, ci95 = _by_hand([100, 50, 75, 25])
  known = {
    "method": "generated",
    "family": "heads",
    "metric": "accuracy",
    "cluster": "class",
    "trials": 24,
    "value": pytest.approx(mean),
    "ci95_cluster": estimate(CORRECT, measure).ci95_cluster,
    "data": "toys",
    "protocol": "toys-9",
    "ways": 5,
    "shots": 1,
    "queries": 4,
    "seed": 3,
    "eval_seed": 1234,
    "tasks": 4,
    "correct": 50,
    "total": 80,
    "accuracy": pytest.approx(mean),
    "ci95": pytest.approx(ci95),
    "backbone": "conv4-4",
    "transductive": False,
    "parameters": 7,
    "settings": {"k": 3},
    "config": "0" * 64,
  }
  assert {name: line[name] for name in known} == known
  for name in [
    "paired_against",
    "paired_diff",
    "paired_ci95",
    "paired_ci95_cluster",
    "latency_ms",
    "batch",
    "budget_s",
  ]:
    assert line[name] is None
  assert line["versions"]["jax"] == jax.__version__
  assert line["device"]


def test_a_paired_line():
  """The difference this − generated is taken task by task, and class by class; a turned
  class belongs to its upright one."""
  call = (FACTS, "prototypes", "toys-9", FORM, CORRECT, GENERATED)
  line = metric_line(*call, Measure(4, clusters=5))
  diff, ci95 = _by_hand(list(5 * (RIGHT - GENERATED.values).sum(1)))
  assert line["paired_against"] == "generated"
  assert line["paired_diff"] == pytest.approx(diff)
  assert line["paired_ci95"] == pytest.approx(ci95)
  clustered = difference(CORRECT, GENERATED, Measure(4, 5)).ci95_cluster
  assert line["paired_ci95_cluster"] == clustered > 0
  assert clustered != difference(CORRECT, GENERATED, Measure(4, 9)).ci95_cluster
  assert line["accuracy"] == pytest.approx(62.5)


def test_a_latency_line_has_no_accuracy():
  timing = Timing("ridge", "latency-head", Latency(1.5, 256, 40, 3.0), {"compile_s": 3.0})
  line = latency_line(FACTS, FORM, timing)
  assert tuple(line) == KEYS
  assert (line["method"], line["latency_ms"], line["batch"]) == ("ridge", 1.5, 256)
  assert (line["protocol"], line["settings"]) == ("latency-head", {"compile_s": 3.0})
  for name in ("accuracy", "value", "metric", "ci95", "correct", "total", "tasks"):
    assert line[name] is None


class Clock:
  """Calls that take what they are told, by a clock that they alone move."""

  def __init__(self, taken: list[float]):
    self.now, self.calls, self._taken = 0.0, 0, taken

  def perf_counter(self) -> float:
    return self.now

  def __call__(self) -> float:
    self.now += self._taken[min(self.calls, len(self._taken) - 1)]
    self.calls += 1
    return 0.0


@pytest.mark.parametrize(
  ("taken", "seconds", "calls", "median"),
  [
    ([5.0, 0.1], 60.0, 10, 100.0),  # all the same: ten are enough to know
    ([5.0, *[0.1, 0.2] * 2000], 1e3, 1000, 150.0),  # never stable: a bound
    ([5.0, *[0.1, 0.2] * 2000], 2.95, 20, 150.0),  # the time is up
    ([5.0, 2.0], 0.1, 3, 2000.0),  # at least three
    ([5.0, 0.1, 9.0, 0.2], 0.1, 3, 200.0),  # one that took long
  ],
)
def test_calls_are_as_many_as_the_median_needs(
  monkeypatch: pytest.MonkeyPatch,
  taken: list[float],
  seconds: float,
  calls: int,
  median: float,
):
  """The first call, which compiles, is apart."""
  clock = Clock(taken)
  monkeypatch.setattr("mcdi_jax.evaluation.latency.time", clock)
  found = measure(clock, batch=3, seconds=seconds)
  assert (found.calls, found.batch, found.compile_s) == (calls, 3, 5.0)
  assert found.median_ms == pytest.approx(median)
  assert clock.calls == calls + 1


def test_error_of_a_median():
  """Of normal values: the sd of many such medians, 1.25 sd/√n, relative."""
  rng = np.random.default_rng(0)
  values = 10 + rng.normal(size=(500, 100))
  errors = [median_error(list(row)) for row in values]
  expected = np.std(np.median(values, axis=1)) / 10
  assert np.mean(errors) == pytest.approx(expected, rel=0.1)


def test_counted_work():
  """XLA counts 2 n³ operations of a matmul."""
  x = jnp.ones((8, 8))
  assert program_flops(jnp.matmul, x, x) == 2 * 8**3


def test_every_method_is_timed_on_one_task_and_on_many(monkeypatch: pytest.MonkeyPatch):
  """From features; each sees the supports as it would alone."""
  generator, seen = make_generator(), []

  def adapt(variables: Any, support: Support, key: Any, ways: int) -> Any:
    seen.append((support.x.shape, ways))
    return support.x * variables

  supports = Support(jnp.ones((4, 6, WIDTH)), jnp.tile(jnp.arange(6) % WAYS, (4, 1)))
  methods = [generated("generated", generator, 0.0), Method("own", adapt, None, 2.0, {})]
  found = time_methods(methods, supports, WAYS, seconds=0.01)
  names = [(t.method, t.protocol, t.latency.batch) for t in found]
  assert names == [(m, "latency-head", b) for m in ("generated", "own") for b in (1, 4)]
  assert seen == [((6, WIDTH), WAYS)] * 2
  assert all(t.latency.median_ms > 0 and t.settings["calls"] >= 3 for t in found)
  monkeypatch.setattr("mcdi_jax.evaluation.timing.matmul_peak", lambda: 1e6)
  one, many = with_share_of_peak(found[:2], generator, Protocol(WAYS, SHOTS))
  work = [t.settings["share_of_matmul_peak"] * t.latency.median_ms for t in (one, many)]
  assert work[1] == pytest.approx(4 * work[0])  # as many floating-point operations a task
  assert one.settings["matmul_peak_gflops"] == 1e-3


def test_generators_are_timed_from_images_and_as_they_are_called():
  found = time_generation("k1", make_generator(), Protocol(WAYS, SHOTS), seconds=0.01)
  assert [(t.method, t.protocol) for t in found] == [
    ("k1", "latency-backbone"),
    ("k1", "latency-public"),
  ]


def test_many_at_once_are_timed_where_they_are_computed_at_once():
  heads, networks = (family(image_shape=(28, 28, 1)) for family in (Heads, Networks))
  assert batches(heads, "cpu") == batches(networks, "gpu") == (1, 256)
  assert batches(networks, "cpu") == (1,)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("tasks", 1),
    ("queries", 0),
    ("trials", 0),
    ("tuning_tasks", 0),
    ("generator_rates", ()),
    ("generator_rates", (1.0, 1.0)),
    ("generator_rates", (0.0,)),
    ("temperatures", (0.0, 1.5)),
    ("temperatures", ()),
    ("descent_steps", (0,)),
    ("descent_steps", (5, 5)),
    ("latency_s", 0.0),
  ],
)
def test_settings_that_cannot_be(name: str, value: Any):
  said = re.escape(f"config.evaluation.{name} is {value}: ")
  with pytest.raises(InputError, match=said):
    EvaluationConfig(**{name: value})
