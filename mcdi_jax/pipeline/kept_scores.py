"""Scores that are kept: what no seed changes is computed once for all of them, and a run
that was interrupted does not begin its evaluation anew."""

import hashlib
from collections.abc import Sequence
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

  def __init__(self, place: Path):
    """place: the directory that they are kept in."""
    self._place = place

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
    kept = [name for name, path in places.items() if files.is_finished(path)]
    for name in kept:
      found = files.read_checked_arrays(places[name])
      values[name] = Scores(found["values"], found["clusters"])
    others = [method for method in methods if method.name not in kept]
    for method, own in zip(others, score(others, *task), strict=True):
      values[method.name] = own
      files.write_checked_arrays(places[method.name], own._asdict())
    return [values[method.name] for method in methods]

  def _path(self, method: Method, content: str, protocol: Protocol) -> Path:
    """Named by all that scores depend on."""
    form = repr(jax.tree.structure(method.variables))  # what is static of a generator
    told = {
      "method": [method.name, method.settings, form, _content(method.variables)],
      "task": [content, protocol],
      "commit": provenance.commit(),
    }
    return self._place / f"{method.name}-{content_hash(told)[:24]}.safetensors"


def _content(*arrays: Any) -> str:
  content = hashlib.sha256()
  for leaf in jax.tree.leaves(arrays):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()
