"""One result a line of JSON, always with the same keys."""

import dataclasses
from typing import Any

import numpy as np

from mcdi_jax.evaluation.timing import Timing
from mcdi_jax.lib import provenance
from mcdi_jax.tasks import Protocol

KEYS = (
  "method",
  "data",
  "protocol",
  "ways",
  "shots",
  "queries",
  "seed",
  "eval_seed",
  "tasks",
  "correct",
  "total",
  "accuracy",
  "ci95",
  "paired_against",
  "paired_diff",
  "paired_ci95",
  "backbone",
  "transductive",
  "parameters",
  "latency_ms",
  "batch",
  "device",
  "matmul_precision",
  "budget_s",
  "settings",
  "config",
  "versions",
  "commit",
)


@dataclasses.dataclass(frozen=True)
class Facts:
  """What all lines of one evaluation share.

  Attributes:
    data: name of the data set.
    seed: of the generator's training; of a method without any, that of the generator it
      is paired with.
    eval_seed: of the test tasks.
    backbone: such as `conv4-64`.
    config: sha256 of all that determines the result.
    matmul_precision: as set.
  """

  backbone: str
  matmul_precision: str
  data: str | None = None
  seed: int | None = None
  eval_seed: int | None = None
  config: str | None = None

  def line(self, method: str, protocol: str, form: Protocol, **values: Any) -> dict:
    """A line with null for what is not given."""
    known = {
      "method": method,
      "data": self.data,
      "protocol": protocol,
      "ways": form.ways,
      "shots": form.shots,
      "queries": form.queries,
      "seed": self.seed,
      "eval_seed": self.eval_seed,
      "backbone": self.backbone,
      "config": self.config,
      "matmul_precision": self.matmul_precision,
      "device": provenance.device(),
      "versions": provenance.versions(),
      "commit": provenance.commit(),
      **values,
    }
    return {key: known.get(key) for key in KEYS}


def mean_and_interval(values: np.ndarray) -> tuple[float, float]:
  """Mean, and 1.96 · sd over tasks / √tasks."""
  return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def paired_difference(
  correct: np.ndarray, rival: np.ndarray, form: Protocol
) -> tuple[float, float]:
  """this − rival in percent, task by task: mean and interval. Both int [tasks]."""
  return mean_and_interval(100 * (correct - rival) / (form.ways * form.queries))


def accuracy_line(
  facts: Facts,
  method: str,
  protocol: str,
  form: Protocol,
  correct: np.ndarray,
  generated: np.ndarray | None,
  **values: Any,
) -> dict[str, Any]:
  """Accuracy in percent with its interval over tasks.

  Args:
    correct: int [tasks], of this method.
    generated: the same of `generated`, on the same tasks: the difference this − generated
      and its interval are taken task by task. None for `generated` itself.
  """
  total = form.ways * form.queries
  accuracy, ci95 = mean_and_interval(100 * correct / total)
  if generated is not None:
    diff, diff_ci95 = paired_difference(correct, generated, form)
    values |= {
      "paired_against": "generated",
      "paired_diff": diff,
      "paired_ci95": diff_ci95,
    }
  return facts.line(
    method,
    protocol,
    form,
    tasks=len(correct),
    correct=int(correct.sum()),
    total=total * len(correct),
    accuracy=accuracy,
    ci95=ci95,
    transductive=False,
    **values,
  )


def latency_line(facts: Facts, form: Protocol, timing: Timing) -> dict[str, Any]:
  """Median milliseconds of `batch` tasks at once."""
  return facts.line(
    "generated",
    timing.protocol,
    form,
    latency_ms=timing.latency.median_ms,
    batch=timing.latency.batch,
    settings=timing.settings,
  )
