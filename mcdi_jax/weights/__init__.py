"""Weights as data: params pytree ⇄ tokens, params ⇄ disk."""

from mcdi_jax.weights.cut import Cut, LeafSpec
from mcdi_jax.weights.layers import Layer, Roots, damped_roots, second_moment
from mcdi_jax.weights.leaves import leaves_by_path, merged, nested
from mcdi_jax.weights.lora import lora, merge_adapters
from mcdi_jax.weights.space import WeightSpace, weight_space
from mcdi_jax.weights.storage import (
  load_distribution,
  load_weights,
  save_distribution,
  save_weights,
)
from mcdi_jax.weights.symmetry import Hidden, aligned, aligned_trajectories

__all__ = [
  "Cut",
  "Hidden",
  "Layer",
  "LeafSpec",
  "Roots",
  "WeightSpace",
  "aligned",
  "aligned_trajectories",
  "damped_roots",
  "leaves_by_path",
  "load_distribution",
  "load_weights",
  "lora",
  "merge_adapters",
  "merged",
  "nested",
  "save_distribution",
  "save_weights",
  "second_moment",
  "weight_space",
]
