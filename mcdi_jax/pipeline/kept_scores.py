"""Scores that are kept: what no seed changes is computed once for all of them, and a run
that was interrupted goes on at the method that it was at."""

import hashlib
import sys
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
from mcdi_jax.lib.progress import Bar
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
    content, found = _content(items, jax.random.key_data(keys)), []
    with Bar("tests", len(methods)) as bar:
      for method in methods:
        place = self._path(method, family, content, protocol)
        if not files.is_finished(place):
          (own,) = score([method], family, items, protocol, keys)
          files.write_checked_arrays(place, own._asdict())
        kept = files.read_checked_arrays(place)
        found.append(Scores(kept["values"], kept["clusters"]))
        bar.update(len(found), method.name)
    return found

  def _path(
    self, method: Method, family: TaskFamily, content: str, protocol: Protocol
  ) -> Path:
    """Named by all that scores depend on, the code as it is now among it."""
    module = sys.modules[type(family).__module__]
    told = {
      "method": [method.name, method.settings, _content(method.variables)],
      "task": [content, protocol, repr(family)],
      "code": provenance.code(getattr(module, "__file__", None)),
      "versions": provenance.versions(),
      "precision": jax.config.jax_default_matmul_precision,
    }
    return self._place / f"{method.name}-{content_hash(told)[:24]}.safetensors"


def _content(*arrays: Any) -> str:
  """Also of what is static in them, as of a generator, or how items are shown."""
  content = hashlib.sha256(repr(jax.tree.structure(arrays)).encode())
  for leaf in jax.tree.leaves(arrays):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()
