"""Whole sets that are tested on: what is in a file, and the form of their tasks."""

import numpy as np

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.data.raw import Raw
from mcdi_jax.families import Features
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.config import Config
from mcdi_jax.tasks import Protocol

_LEAST_QUERIES = 20  # a class; with fewer a set is not tested with so many shots


def sets_of(raw: Raw) -> dict[str, ClassSet]:
  """The whole set, or one for each of its domains; of split classes those for test."""
  found = {}
  domains = [None] if raw.domain is None else sorted(set(raw.domain))
  for domain in domains:
    chosen = np.ones(len(raw.labels), bool) if domain is None else raw.domain == domain
    name = raw.name if domain is None else f"{raw.name}-{domain}"
    if raw.split is not None:
      chosen &= raw.split[raw.labels] == 2
    present, labels = np.unique(raw.labels[chosen], return_inverse=True)
    if len(present) < 2:
      raise InputError(f"{name} has fewer than two classes to test on: leave it out")
    found[name] = from_labels(raw.images[chosen], labels)
  return found


def form_of(
  config: Config, name: str, test: ClassSet, ways: int, shots: int
) -> Protocol | None:
  """As many queries of each class as the smallest has left, at most the setting; None, and
  why, where a target has too little."""
  left = int(test.count.min()) - shots
  if left < min(_LEAST_QUERIES, config.features.queries):
    CONSOLE.print(f"{name}: too few items a class for {shots} shots")
    return None
  if test.classes < ways:
    CONSOLE.print(f"{name}: {test.classes} classes, too few for {ways} ways")
    return None
  if (ways or test.classes) > Features.most_ways:
    CONSOLE.print(f"{name}: {ways or test.classes} classes, more than heads are made for")
    return None
  return Protocol(ways or test.classes, shots, min(config.features.queries, left))
