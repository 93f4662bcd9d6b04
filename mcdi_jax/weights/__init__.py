"""Weights as data: params pytree ⇄ tokens."""

from mcdi_jax.weights.space import LeafSpec, WeightSpace, weight_space

__all__ = ["LeafSpec", "WeightSpace", "weight_space"]
