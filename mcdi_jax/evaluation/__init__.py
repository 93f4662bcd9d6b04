"""Protocols, intervals, latency, results."""

from mcdi_jax.evaluation.config import EvaluationConfig
from mcdi_jax.evaluation.examples import classified, reconstructed
from mcdi_jax.evaluation.intervals import Measure, difference, estimate
from mcdi_jax.evaluation.latency import Latency, measure
from mcdi_jax.evaluation.pictures import pictures
from mcdi_jax.evaluation.results import KEYS, Facts, latency_line, metric_line
from mcdi_jax.evaluation.scores import Scores, draw_task, score, task_keys
from mcdi_jax.evaluation.table import print_table
from mcdi_jax.evaluation.timing import (
  Timing,
  batches,
  noise_like,
  time_generation,
  time_methods,
  with_share_of_peak,
)

__all__ = [
  "KEYS",
  "EvaluationConfig",
  "Facts",
  "Latency",
  "Measure",
  "Scores",
  "Timing",
  "batches",
  "classified",
  "difference",
  "draw_task",
  "estimate",
  "latency_line",
  "measure",
  "metric_line",
  "noise_like",
  "pictures",
  "print_table",
  "reconstructed",
  "score",
  "task_keys",
  "time_generation",
  "time_methods",
  "with_share_of_peak",
]
