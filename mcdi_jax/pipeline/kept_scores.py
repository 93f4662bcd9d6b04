"""Scores of methods that no seed changes: computed once for all of them."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.evaluation import Scores, score
from mcdi_jax.families import TaskFamily
from mcdi_jax.lib import files, provenance
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
    values = {}
    task = (family, items, protocol, keys)
    content = _content(items, jax.random.key_data(keys))
    places = {m.name: self._path(m, content, protocol) for m in methods}
    kept = [n for n, path in places.items() if n in self._names and files.is_finished(path)]
    for name in kept:
      found = files.read_checked_arrays(places[name])
      values[name] = Scores(found["values"], found["clusters"])
    others = [method for method in methods if method.name not in kept]
    for method, own in zip(others, score(others, *task), strict=True):
      values[method.name] = own
      if method.name in self._names:
        files.write_checked_arrays(places[method.name], own._asdict())
    return [values[method.name] for method in methods]

  def _path(self, method: Method, content: str, protocol: Protocol) -> Path:
    """Named by all that scores depend on."""
    told = {
      "method": [method.name, method.settings, _content(method.variables)],
      "task": [content, protocol],
      "commit": provenance.commit(),
    }
    return self._place / f"{method.name}-{content_hash(told)[:24]}.safetensors"


def _content(*arrays: Any) -> str:
  content = hashlib.sha256()
  for leaf in jax.tree.leaves(arrays):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()
