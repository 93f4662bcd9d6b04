"""Phase two: the generator is learned over tasks."""

from mcdi_jax.meta.batch import TaskBatch, TaskSource, draw_tasks
from mcdi_jax.meta.config import MetaConfig
from mcdi_jax.meta.fit import fit_space
from mcdi_jax.meta.loss import task_loss
from mcdi_jax.meta.reptile import descend, pseudo_gradient
from mcdi_jax.meta.training import MetaState, meta_training, selected
from mcdi_jax.meta.validation import validation

__all__ = [
  "MetaConfig",
  "MetaState",
  "TaskBatch",
  "TaskSource",
  "descend",
  "draw_tasks",
  "fit_space",
  "meta_training",
  "pseudo_gradient",
  "selected",
  "task_loss",
  "validation",
]
