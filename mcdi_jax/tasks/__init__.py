"""Pure sampling of N-way K-shot tasks."""

from mcdi_jax.tasks.few_shot import (
  Protocol,
  Query,
  Support,
  Task,
  check_protocol,
  class_means,
  class_sums,
  membership,
  sample_classes,
  sample_support,
  sample_task,
  task_classes,
)

__all__ = [
  "Protocol",
  "Query",
  "Support",
  "Task",
  "check_protocol",
  "class_means",
  "class_sums",
  "membership",
  "sample_classes",
  "sample_support",
  "sample_task",
  "task_classes",
]
