"""What generated weights are compared with: one file a method, one interface."""

from mcdi_jax.baselines.cosine import COSINE
from mcdi_jax.baselines.finetune import FINETUNE, FINETUNE_SGD
from mcdi_jax.baselines.logistic import LOGISTIC
from mcdi_jax.baselines.method import Method, Tunable
from mcdi_jax.baselines.prepared import prepared
from mcdi_jax.baselines.prototypes import PROTOTYPES
from mcdi_jax.baselines.ridge import RIDGE
from mcdi_jax.baselines.space import LogUniform, Space, at_edge, draw_settings

TUNABLE = (PROTOTYPES, COSINE, RIDGE, LOGISTIC, FINETUNE, FINETUNE_SGD)

__all__ = [
  "TUNABLE",
  "LogUniform",
  "Method",
  "Space",
  "Tunable",
  "at_edge",
  "draw_settings",
  "prepared",
]
