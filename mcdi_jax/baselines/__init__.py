"""What generated weights are compared with: one file a method, one interface."""

from mcdi_jax.baselines.finetune import FinetuneSettings, finetune, finetune_trials
from mcdi_jax.baselines.method import Method
from mcdi_jax.baselines.prototypes import prototypes

__all__ = ["FinetuneSettings", "Method", "finetune", "finetune_trials", "prototypes"]
