"""Ways to adapt to a task, generation among them: one file a method, one interface."""

from mcdi_jax.methods.base import base_alone
from mcdi_jax.methods.by_source import best_of_sources, source_adapters
from mcdi_jax.methods.controls import (
  generated_without,
  mean_of_bank,
  nearest_of_bank,
  shuffled_adapters,
  shuffled_condition,
)
from mcdi_jax.methods.cosine import COSINE
from mcdi_jax.methods.descent import descent
from mcdi_jax.methods.finetune import FINETUNE, FINETUNE_SGD
from mcdi_jax.methods.generated import ensembled, generated, iterated
from mcdi_jax.methods.in_context import in_context
from mcdi_jax.methods.logistic import LOGISTIC
from mcdi_jax.methods.method import Known, Method, Tunable
from mcdi_jax.methods.prepared import prepared
from mcdi_jax.methods.prototypes import PROTOTYPES
from mcdi_jax.methods.refined import refined
from mcdi_jax.methods.renormalised import RENORMALISED
from mcdi_jax.methods.ridge import RIDGE
from mcdi_jax.methods.ridge_ensemble import RIDGE_ENSEMBLE
from mcdi_jax.methods.ridge_loo import RIDGE_LOO
from mcdi_jax.methods.space import LogUniform, Space, at_edge, draw_settings
from mcdi_jax.methods.unlabelled import tunable_about, unlabelled_centre
from mcdi_jax.methods.view import Statistics
from mcdi_jax.methods.whitened import PROTOTYPES_WHITENED
from mcdi_jax.methods.whole import whole_descent

HEADS = (PROTOTYPES, COSINE, RIDGE, LOGISTIC, FINETUNE, FINETUNE_SGD)
FEATURE_HEADS = (
  PROTOTYPES,
  COSINE,
  PROTOTYPES_WHITENED,
  RIDGE,
  RIDGE_LOO,
  RIDGE_ENSEMBLE,
  LOGISTIC,
  FINETUNE,
)

__all__ = [
  "COSINE",
  "FEATURE_HEADS",
  "HEADS",
  "PROTOTYPES",
  "RENORMALISED",
  "RIDGE",
  "RIDGE_LOO",
  "Known",
  "LogUniform",
  "Method",
  "Space",
  "Statistics",
  "Tunable",
  "at_edge",
  "base_alone",
  "best_of_sources",
  "descent",
  "draw_settings",
  "ensembled",
  "generated",
  "generated_without",
  "in_context",
  "iterated",
  "mean_of_bank",
  "nearest_of_bank",
  "prepared",
  "refined",
  "shuffled_adapters",
  "shuffled_condition",
  "source_adapters",
  "tunable_about",
  "unlabelled_centre",
  "whole_descent",
]
