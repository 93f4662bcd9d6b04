"""One result a line of JSON, always with the same keys."""

import dataclasses
from typing import Any

from mcdi_jax.evaluation.intervals import Measure, difference, estimate
from mcdi_jax.evaluation.scores import Scores
from mcdi_jax.evaluation.timing import Timing
from mcdi_jax.families import TaskFamily
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
  "family",
  "metric",
  "value",
  "cluster",
  "ci95_cluster",
  "paired_ci95_cluster",
  "trials",
)


@dataclasses.dataclass(frozen=True)
class Facts:
  """What all lines of one evaluation share.

  Attributes:
    backbone: of the frozen part, such as `conv4-64`; None: there is none to name.
    matmul_precision: as set.
    family: the tasks.
    data: name of the data set.
    seed: of the generator's training; of a method without any, that of the generator it
      is paired with.
    eval_seed: of the test tasks.
    config: sha256 of all that determines the result.
  """

  backbone: str | None
  matmul_precision: str
  family: TaskFamily
  data: str | None = None
  seed: int | None = None
  eval_seed: int | None = None
  config: str | None = None

  def line(self, method: str, protocol: str, form: Protocol, **values: Any) -> dict:
    """A line with null for what is not given, or not meant: only classes have ways."""
    form_values = form._asdict() if self.family.classifies else {}
    known = {
      "method": method,
      "family": self.family.name,
      "data": self.data,
      "protocol": protocol,
      **form_values,
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


def metric_line(
  facts: Facts,
  method: str,
  protocol: str,
  form: Protocol,
  scores: Scores,
  generated: Scores | None,
  measure: Measure,
  **values: Any,
) -> dict[str, Any]:
  """The family's metric with its intervals over tasks and over clusters.

  Args:
    scores: of this method.
    generated: of `generated`, on the same tasks: the difference this − generated and its
      intervals are taken task by task and cluster by cluster. None for `generated` itself.
  """
  found, metric = estimate(scores, measure), facts.family.metric.name
  values.setdefault("transductive", False)
  if generated is not None:
    diff = difference(scores, generated, measure)
    values |= {
      "paired_against": "generated",
      "paired_diff": diff.mean,
      "paired_ci95": diff.ci95,
      "paired_ci95_cluster": diff.ci95_cluster,
    }
  if metric == "accuracy":
    values |= {
      "correct": int(scores.values.sum()),
      "total": scores.values.size * measure.asked,
      "accuracy": found.mean,
    }
  return facts.line(
    method,
    protocol,
    form,
    metric=metric,
    cluster=None if found.ci95_cluster is None else "class",
    tasks=len(scores.values),
    value=found.mean,
    ci95=found.ci95,
    ci95_cluster=found.ci95_cluster,
    **values,
  )


def latency_line(facts: Facts, form: Protocol, timing: Timing) -> dict[str, Any]:
  """Median milliseconds of `batch` tasks at once."""
  return facts.line(
    timing.method,
    timing.protocol,
    form,
    latency_ms=timing.latency.median_ms,
    batch=timing.latency.batch,
    settings=timing.settings,
  )
