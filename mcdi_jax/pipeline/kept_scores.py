"""Scores of methods that no seed changes: computed once for all of them."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.evaluation import Scores, score
from mcdi_jax.families import TaskFamily
from mcdi_jax.lib import files
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import Method
from mcdi_jax.tasks import Protocol


class KeptScores:
  """Called as `score` is."""

  def __init__(self, place: Path, names: Collection[str]):
    """
    Args:
      place: the directory that they are kept in.
      names: of the methods whose scores are kept; the others are computed each time.
    """
    self._place, self._names = place, names

  def __call__(
    self,
    methods: Sequence[Method],
    family: TaskFamily,
    items: Any,
    protocol: Protocol,
    keys: Key[Array, " n"],
  ) -> list[Scores]:
    same = [method for method in methods if method.name in self._names]
    path = self._place / f"{_digest(same, items, protocol, keys)}.safetensors"
    task = (family, items, protocol, keys)
    if files.is_finished(path):
      kept = files.read_checked_arrays(path)
    else:
      found = score(same, *task)
      kept = {method.name: s.values for method, s in zip(same, found, strict=True)}
      kept["clusters"] = found[0].clusters
      files.write_checked_arrays(path, kept)
    others = [method for method in methods if method.name not in self._names]
    values = dict(zip([m.name for m in others], score(others, *task), strict=True))
    values |= {m.name: Scores(kept[m.name], kept["clusters"]) for m in same}
    return [values[method.name] for method in methods]


def _digest(
  methods: Sequence[Method], items: Any, protocol: Protocol, keys: Key[Array, " n"]
) -> str:
  """Of everything that scores depend on, params that settings do not tell included."""
  content = hashlib.sha256()
  arrays = [items, *(method.variables for method in methods), jax.random.key_data(keys)]
  for leaf in jax.tree.leaves(arrays):
    content.update(np.asarray(leaf).tobytes())
  named = [[method.name, method.settings] for method in methods]
  told = {"methods": named, "protocol": protocol, "arrays": content.hexdigest()}
  return content_hash(told)[:32]
