"""Ways to adapt to a task, generation among them: one file a method, one interface."""

from mcdi_jax.methods.cosine import COSINE
from mcdi_jax.methods.finetune import FINETUNE, FINETUNE_SGD
from mcdi_jax.methods.generated import generated
from mcdi_jax.methods.logistic import LOGISTIC
from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.prepared import prepared
from mcdi_jax.methods.prototypes import PROTOTYPES
from mcdi_jax.methods.ridge import RIDGE
from mcdi_jax.methods.space import LogUniform, Space, at_edge, draw_settings

TUNABLE = (PROTOTYPES, COSINE, RIDGE, LOGISTIC, FINETUNE, FINETUNE_SGD)

__all__ = [
  "TUNABLE",
  "LogUniform",
  "Method",
  "Space",
  "Tunable",
  "at_edge",
  "draw_settings",
  "generated",
  "prepared",
]
