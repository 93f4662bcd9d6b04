"""What the method must know of each of its uses: one file a use."""

from mcdi_jax.families.adapters import Adapters
from mcdi_jax.families.description import family_from_json, family_to_json
from mcdi_jax.families.documents import DocumentItems, Documents
from mcdi_jax.families.family import Batch, Metric, PrepareOn, TaskFamily
from mcdi_jax.families.features import Features
from mcdi_jax.families.fields import FieldItems, Fields
from mcdi_jax.families.heads import Heads
from mcdi_jax.families.networks import Networks
from mcdi_jax.families.sentences import Sentences

__all__ = [
  "Adapters",
  "Batch",
  "DocumentItems",
  "Documents",
  "Features",
  "FieldItems",
  "Fields",
  "Heads",
  "Metric",
  "Networks",
  "PrepareOn",
  "Sentences",
  "TaskFamily",
  "family_from_json",
  "family_to_json",
]
