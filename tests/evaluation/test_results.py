"""Result lines, intervals, and the clock."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.evaluation import (
  KEYS,
  EvaluationConfig,
  Facts,
  Latency,
  Timing,
  accuracy_line,
  latency_line,
  measure,
)
from mcdi_jax.evaluation.latency import program_flops
from mcdi_jax.evaluation.results import mean_and_interval
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Protocol

# The list in design.md, in its order.
EXPECTED = (
  "method, data, protocol, ways, shots, queries, seed, eval_seed, tasks, correct, total, "
  "accuracy, ci95, paired_against, paired_diff, paired_ci95, backbone, transductive, "
  "parameters, latency_ms, batch, device, matmul_precision, budget_s, settings, config, "
  "versions, commit"
)
FACTS = Facts(
  data="toys",
  seed=3,
  eval_seed=1234,
  backbone="conv4-4",
  config="0" * 64,
  matmul_precision="highest",
)
FORM = Protocol(5, 1, 4)  # 20 queries a task
CORRECT = np.array([20, 10, 15, 5])
GENERATED = np.array([18, 12, 10, 0])


def _by_hand(values: Any) -> tuple[float, float]:
  mean = sum(values) / len(values)
  variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return mean, 1.96 * (variance / len(values)) ** 0.5


def test_the_keys_are_those_of_the_design():
  assert ", ".join(KEYS) == EXPECTED


def test_an_accuracy_line():
  line = accuracy_line(
    FACTS, "generated", "toys-9", FORM, CORRECT, None, parameters=7, settings={"k": 3}
  )
  assert tuple(line) == KEYS
  mean, ci95 = _by_hand([100, 50, 75, 25])
  known = {
    "method": "generated",
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
    "latency_ms",
    "batch",
    "budget_s",
  ]:
    assert line[name] is None
  assert line["versions"]["jax"] == jax.__version__
  assert line["device"]


def test_a_paired_line():
  """The difference this − generated is taken task by task."""
  line = accuracy_line(FACTS, "prototypes", "toys-9", FORM, CORRECT, GENERATED)
  diff, ci95 = _by_hand([10, -10, 25, 25])
  assert line["paired_against"] == "generated"
  assert line["paired_diff"] == pytest.approx(diff)
  assert line["paired_ci95"] == pytest.approx(ci95)
  assert line["accuracy"] == pytest.approx(62.5)


def test_a_latency_line_has_no_accuracy():
  line = latency_line(
    FACTS, FORM, Timing("latency-head", Latency(1.5, 256, 3.0, 0.0), {"compile_s": 3.0})
  )
  assert tuple(line) == KEYS
  assert (line["latency_ms"], line["batch"]) == (1.5, 256)
  assert (line["protocol"], line["settings"]) == ("latency-head", {"compile_s": 3.0})
  for name in ("accuracy", "ci95", "correct", "total", "tasks"):
    assert line[name] is None


def test_interval():
  values = np.random.default_rng(0).normal(size=100)
  assert mean_and_interval(values) == pytest.approx(_by_hand(values))
  assert mean_and_interval(np.full(5, 2.0)) == (2.0, 0.0)


def test_measured_time_and_counted_work():
  """A larger matmul takes longer; XLA counts 2 n³ operations."""
  found = {}
  for n in (8, 512):
    x = jnp.ones((n, n))
    fn = jax.jit(jnp.matmul)
    found[n] = measure(fn, x, x, batch=3, calls=5, flops=2.0 * n**3)
    assert program_flops(jnp.matmul, x, x) == 2 * n**3
    assert found[n].batch == 3
    assert 0 < found[n].median_ms < 1000
    assert found[n].compile_s > 0
    rate = 2 * n**3 / (found[n].median_ms / 1000)
    assert found[n].flops_per_s == pytest.approx(rate)
  assert found[512].median_ms > found[8].median_ms


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("tasks", 1),
    ("queries", 0),
    ("finetune_trials", 0),
    ("tuning_tasks", 0),
    ("latency_calls", 99),
    ("temperature", 1.5),
  ],
)
def test_settings_that_cannot_be(name: str, value: Any):
  with pytest.raises(InputError, match=rf"config\.evaluation\.{name} is {value}: "):
    EvaluationConfig(**{name: value})
