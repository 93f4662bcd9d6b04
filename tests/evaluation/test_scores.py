"""Scores of classifiers, their right answers, held against a Python loop over tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.evaluation import draw_task, score, scores, task_keys
from mcdi_jax.families import Heads
from mcdi_jax.lib import programs as programs_room
from mcdi_jax.methods import Method
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Protocol, Support

FORM = Protocol(3, 2, 4)
FAMILY = Heads(image_shape=(16, 16, 1))
KEYS = task_keys(7, 12)
LABELS = np.repeat(np.arange(6), [6, 7, 8, 6, 9, 6])


@pytest.fixture(scope="module")
def features() -> ClassSet:
  """Classes that overlap, of unequal number."""
  rng = np.random.default_rng(0)
  centre = rng.normal(size=(6, 4))
  x = (centre[LABELS] + rng.normal(size=(42, 4))).astype(np.float32)
  return jax.tree.map(jnp.asarray, from_labels(x, LABELS))


def _noisy_mean(variables: Any, support: Support, key: Any, ways: int) -> Any:
  """A method with variables and randomness: class means, from noisy features."""
  x = support.x + variables * jax.random.normal(key, support.x.shape)
  mean = jax.ops.segment_sum(x, support.y, ways) / (len(x) // ways)
  params = {"head": {"kernel": mean.T, "bias": -0.5 * jnp.sum(mean**2, 1)}}
  return params


def _predict(variables: Any, params: Any, x: Any) -> Any:
  del variables
  return apply_head(params, x)


def _method(noise: float) -> Method:
  return Method("noisy", _noisy_mean, _predict, jnp.float32(noise), {"noise": noise})


@pytest.mark.parametrize("batch", [5, 100])
def test_scores_equal_a_python_loop(
  features: ClassSet, monkeypatch: pytest.MonkeyPatch, batch: int
):
  """Of each task and class, for two methods at once; also where the tasks are no multiple
  of a batch: 12 tasks, 5 at a time. The classes are those of the queries' items."""
  monkeypatch.setattr(scores, "_BATCH", batch)
  methods = [_method(0.5), _method(30.0)]
  found = score(methods, FAMILY, features, FORM, KEYS)
  draw = jax.jit(lambda k: draw_task(k, FAMILY, features, FORM))
  place = {tuple(x): c for x, c in zip(np.asarray(features.x), LABELS, strict=True)}
  for mine, noise in zip(found, (0.5, 30.0), strict=True):
    assert mine.values.shape == mine.clusters.shape == (12, 3)
    for number, key in enumerate(KEYS):
      task, _, k_method = draw(key)
      params = _noisy_mean(noise, task.support, k_method, FORM.ways)
      right = np.asarray(apply_head(params, task.query.x).argmax(1) == task.query.y)
      for label in range(3):
        here = np.asarray(task.query.y) == label
        assert mine.values[number, label] == right[here].sum()
        classes = {place[tuple(x)] for x in np.asarray(task.query.x)[here]}
        assert classes == {mine.clusters[number, label]}
  assert found[0].values.sum() > found[1].values.sum()


def test_many_evaluations_fit_in_one_process(
  features: ClassSet, monkeypatch: pytest.MonkeyPatch
):
  """Programs are let go where they fill the process's memory map, and nothing changes."""
  expected = score([_method(0.5)], FAMILY, features, FORM, KEYS)[0].values
  asked: list[bool] = []
  full = lambda: asked.append(programs_room.make_room(share=0.0))  # noqa: E731
  monkeypatch.setattr(scores, "make_room", full)
  for _ in range(2):
    found = score([_method(0.5)], FAMILY, features, FORM, KEYS)[0].values
    np.testing.assert_array_equal(found, expected)
  assert len(asked) == 2


def test_methods_that_share_a_function_are_compiled_once(features: ClassSet, programs):
  """Whatever their variables, and on every set."""
  other = features._replace(index=features.index[:5], count=features.count[:5])
  form = FORM._replace(queries=3)
  for items in (features, other):
    score([_method(0.1), _method(0.2)], FAMILY, items, form, KEYS)
  assert programs("_score") == 1


def test_task_keys_are_the_tasks():
  """A seed gives the same tasks again, another seed others, all different."""
  data = jax.random.key_data
  np.testing.assert_array_equal(data(task_keys(7, 12)), data(KEYS))
  others = task_keys(8, 12), task_keys(7, 12, "tuning")
  both = np.concatenate([data(keys) for keys in (KEYS, *others)])
  assert len(np.unique(both, axis=0)) == 36
