"""Weights as data: params pytree ⇄ tokens, params ⇄ disk."""

from mcdi_jax.weights.space import LeafSpec, WeightSpace, weight_space
from mcdi_jax.weights.storage import (
  load_distribution,
  load_weights,
  save_distribution,
  save_weights,
)

__all__ = [
  "LeafSpec",
  "WeightSpace",
  "load_distribution",
  "load_weights",
  "save_distribution",
  "save_weights",
  "weight_space",
]
