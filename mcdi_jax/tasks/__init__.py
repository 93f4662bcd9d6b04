"""Pure sampling of N-way K-shot tasks."""

from mcdi_jax.tasks.across import sample_across
from mcdi_jax.tasks.few_shot import (
  Form,
  Protocol,
  Query,
  Support,
  Task,
  check_protocol,
  class_means,
  class_sums,
  log_mean_probability,
  mean_over_items,
  membership,
  sample_classes,
  sample_examples,
  sample_support,
  sample_task,
)

__all__ = [
  "Form",
  "Protocol",
  "Query",
  "Support",
  "Task",
  "check_protocol",
  "class_means",
  "class_sums",
  "log_mean_probability",
  "mean_over_items",
  "membership",
  "sample_across",
  "sample_classes",
  "sample_examples",
  "sample_support",
  "sample_task",
]
