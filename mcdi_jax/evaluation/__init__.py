"""Protocols, intervals, latency, results."""

from mcdi_jax.evaluation.accuracy import Counts, correct_counts, draw_task, task_keys
from mcdi_jax.evaluation.config import EvaluationConfig
from mcdi_jax.evaluation.intervals import difference, estimate
from mcdi_jax.evaluation.latency import Latency, measure
from mcdi_jax.evaluation.pictures import pictures
from mcdi_jax.evaluation.results import KEYS, Facts, accuracy_line, latency_line
from mcdi_jax.evaluation.table import print_table
from mcdi_jax.evaluation.timing import (
  BATCHES,
  Timing,
  time_generation,
  time_methods,
  with_share_of_peak,
)

__all__ = [
  "BATCHES",
  "KEYS",
  "Counts",
  "EvaluationConfig",
  "Facts",
  "Latency",
  "Timing",
  "accuracy_line",
  "correct_counts",
  "difference",
  "draw_task",
  "estimate",
  "latency_line",
  "measure",
  "pictures",
  "print_table",
  "task_keys",
  "time_generation",
  "time_methods",
  "with_share_of_peak",
]
