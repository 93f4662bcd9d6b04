"""Phase two: the generator is learned over tasks."""

from mcdi_jax.meta.batch import TaskBatch, TaskSource, draw_tasks, task_source
from mcdi_jax.meta.config import MetaConfig
from mcdi_jax.meta.finishing import FinishingConfig, finishing
from mcdi_jax.meta.fit import fit_space
from mcdi_jax.meta.initial import InitialConfig, initial_training
from mcdi_jax.meta.loss import task_loss
from mcdi_jax.meta.reptile import descend, pseudo_gradient
from mcdi_jax.meta.training import MetaState, Training, meta_training, selected
from mcdi_jax.meta.validation import validation

__all__ = [
  "FinishingConfig",
  "InitialConfig",
  "MetaConfig",
  "MetaState",
  "TaskBatch",
  "TaskSource",
  "Training",
  "descend",
  "draw_tasks",
  "finishing",
  "fit_space",
  "initial_training",
  "meta_training",
  "pseudo_gradient",
  "selected",
  "task_loss",
  "task_source",
  "validation",
]
