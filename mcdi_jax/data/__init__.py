"""Images as arrays indexed by class, in class-disjoint splits."""

from mcdi_jax.data.class_set import ClassSet, concatenate, from_labels, with_rotations
from mcdi_jax.data.load import DataConfig, Splits, load_splits, source_settings
from mcdi_jax.data.overview import contact_sheet, overview

__all__ = [
  "ClassSet",
  "DataConfig",
  "Splits",
  "concatenate",
  "contact_sheet",
  "from_labels",
  "load_splits",
  "overview",
  "source_settings",
  "with_rotations",
]
