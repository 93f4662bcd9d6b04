"""Images as arrays indexed by class, in class-disjoint splits."""

from mcdi_jax.data.class_set import ClassSet, concatenate, from_labels, with_rotations
from mcdi_jax.data.load import DataConfig, Splits, load_splits

__all__ = [
  "ClassSet",
  "DataConfig",
  "Splits",
  "concatenate",
  "from_labels",
  "load_splits",
  "with_rotations",
]
