"""Protocols, intervals, latency, results."""

from mcdi_jax.evaluation.accuracy import choose, correct_counts, task_keys
from mcdi_jax.evaluation.config import EvaluationConfig
from mcdi_jax.evaluation.latency import Latency, measure
from mcdi_jax.evaluation.pictures import pictures
from mcdi_jax.evaluation.results import (
  KEYS,
  Facts,
  accuracy_line,
  latency_line,
  paired_difference,
)
from mcdi_jax.evaluation.table import print_table
from mcdi_jax.evaluation.timing import Timing, time_generation

__all__ = [
  "KEYS",
  "EvaluationConfig",
  "Facts",
  "Latency",
  "Timing",
  "accuracy_line",
  "choose",
  "correct_counts",
  "latency_line",
  "measure",
  "paired_difference",
  "pictures",
  "print_table",
  "task_keys",
  "time_generation",
]
