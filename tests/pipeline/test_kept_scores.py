"""Scores that no seed changes: computed once, and not taken for those of something else."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import WIDTH, make_generator

from mcdi_jax.data import from_labels
from mcdi_jax.evaluation import Scores, score, task_keys
from mcdi_jax.families import DocumentItems
from mcdi_jax.lib import provenance
from mcdi_jax.lib.files import as_path
from mcdi_jax.methods import Method, Statistics
from mcdi_jax.methods.prototypes import PROTOTYPES
from mcdi_jax.methods.ridge import RIDGE
from mcdi_jax.pipeline import kept_scores
from mcdi_jax.pipeline.kept_scores import KeptScores
from mcdi_jax.tasks import Protocol

KNOWN = Statistics(jnp.zeros(WIDTH), jnp.ones(WIDTH))
FORM, KEYS, FAMILY = Protocol(3, 2, 4), task_keys(0, 6), make_generator().family


def _methods(penalty: float = 0.3) -> list[Method]:
  view = {"centre": "none", "unit_length": False}
  settings = {"penalty": penalty, **view}
  return [PROTOTYPES.make(view, KNOWN), RIDGE.make(settings, KNOWN)]


def _items(shift: float = 0.0) -> Any:
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(5), 8)
  x = np.float32(rng.normal(size=(5, WIDTH))[labels] + rng.normal(size=(40, WIDTH)))
  return jax.tree.map(jnp.asarray, from_labels(x + np.float32(shift), labels))


def test_items_that_are_shown_otherwise_are_others(tmp_path: Path, monkeypatch: Any):
  """Documents with a view of what is before, whose tokens are the same."""
  ids, source = jnp.zeros((2, 16), jnp.int32), jnp.arange(2)
  computed = []
  found = Scores(np.zeros((6, 1)), np.zeros((6, 1), int))
  monkeypatch.setattr(
    kept_scores, "score", lambda methods, *task: computed.append(task[1].view) or [found]
  )
  scored = KeptScores(as_path(tmp_path))
  for view in (0, 4, 0, 4):
    items = DocumentItems(ids, source, view=view)
    scored(_methods()[:1], FAMILY, items, FORM, KEYS)
  assert computed == [0, 4]


def test_an_interrupted_evaluation_goes_on_at_its_method(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  scored, task = KeptScores(as_path(tmp_path)), (FAMILY, _items(), FORM, KEYS)

  def broken(methods: Any, *task: Any) -> Any:
    if methods[0].name == "ridge":
      raise KeyboardInterrupt
    return score(methods, *task)

  monkeypatch.setattr(kept_scores, "score", broken)
  with pytest.raises(KeyboardInterrupt):
    scored(_methods(), *task)
  again: list[str] = []
  monkeypatch.setattr(
    kept_scores,
    "score",
    lambda m, *task: again.extend(x.name for x in m) or score(m, *task),
  )
  scored(_methods(), *task)
  assert again == ["ridge"]


def test_what_is_kept_is_not_computed_again(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Unless items, settings or tasks are others; the rest is, and the order is the same."""
  computed: list[str] = []

  def counting(methods: Any, *task: Any) -> Any:
    computed.extend(method.name for method in methods)
    return score(methods, *task)

  monkeypatch.setattr(kept_scores, "score", counting)
  scored = KeptScores(as_path(tmp_path))
  expected = score(_methods(), FAMILY, _items(), FORM, KEYS)
  for methods, again in ((_methods()[:1], ["prototypes"]), (_methods(), ["ridge"])):
    computed.clear()
    found = scored(methods, FAMILY, _items(), FORM, KEYS)
    assert computed == again
    for mine, plain in zip(found, expected, strict=False):
      np.testing.assert_array_equal(mine.values, plain.values)
      np.testing.assert_array_equal(mine.clusters, plain.clusters)
  other = dataclasses.replace(FAMILY, most_items=50)
  for call in (
    (_methods(), other, _items(), FORM, KEYS),
    (_methods(0.4), FAMILY, _items(), FORM, KEYS),
    (_methods(), FAMILY, _items(1.0), FORM, KEYS),
    (_methods(), FAMILY, _items(), FORM, task_keys(1, 6)),
    (_methods(), FAMILY, _items(), FORM._replace(shots=1), KEYS),
  ):
    computed.clear()
    scored(*call)
    assert "ridge" in computed
  for name, value in (
    ("code", lambda *_: "edited"),
    ("versions", lambda: {"jax": "another"}),
  ):
    computed.clear()
    with monkeypatch.context() as patch:
      patch.setattr(provenance, name, value)
      scored(_methods()[:1], FAMILY, _items(), FORM, KEYS)
    assert computed == ["prototypes"]
  computed.clear()
  with jax.default_matmul_precision("default"):
    scored(_methods()[:1], FAMILY, _items(), FORM, KEYS)
  assert computed == ["prototypes"]


def test_the_code_is_what_lies_on_disk(tmp_path: Path):
  """Of a file that is named, too, such as that of a family of one's own."""
  place = tmp_path / "mine.py"
  place.write_text("a = 1\n")
  before = provenance.code.__wrapped__(str(place))
  assert before == provenance.code.__wrapped__(str(place)) != provenance.code()
  place.write_text("a = 2\n")
  assert provenance.code.__wrapped__(str(place)) != before
