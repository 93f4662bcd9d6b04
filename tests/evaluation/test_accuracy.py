"""Counting correct answers, held against a Python loop over tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.baselines import Method
from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.evaluation import accuracy, choose, correct_counts, task_keys
from mcdi_jax.evaluation.accuracy import draw_task
from mcdi_jax.tasks import Protocol, Support

FORM = Protocol(3, 2, 4)
KEYS = task_keys(7, 12)


@pytest.fixture(scope="module")
def features() -> ClassSet:
  """Classes that overlap, of unequal number."""
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(6), [6, 7, 8, 6, 9, 6])
  centre = rng.normal(size=(6, 4))
  x = (centre[labels] + rng.normal(size=(42, 4))).astype(np.float32)
  return jax.tree.map(jnp.asarray, from_labels(x, labels))


def _noisy_mean(variables: Any, support: Support, key: Any, ways: int) -> Any:
  """A method with variables and randomness: class means, from noisy features."""
  x = support.x + variables * jax.random.normal(key, support.x.shape)
  mean = jax.ops.segment_sum(x, support.y, ways) / (len(x) // ways)
  return {"head": {"kernel": mean.T, "bias": -0.5 * jnp.sum(mean**2, 1)}}


def _method(noise: float) -> Method:
  return Method("noisy", _noisy_mean, jnp.float32(noise), {"noise": noise})


def test_counts_equal_a_python_loop(features: ClassSet, monkeypatch: pytest.MonkeyPatch):
  """Also where the tasks are no multiple of a batch: 12 tasks, 5 at a time."""
  monkeypatch.setattr(accuracy, "_BATCH", 5)
  found = correct_counts(_method(0.5), features, FORM, KEYS)
  draw = jax.jit(lambda k: draw_task(k, features, FORM))
  expected = []
  for key in KEYS:
    task, k_method = draw(key)
    params = _noisy_mean(0.5, task.support, k_method, FORM.ways)["head"]
    logits = np.asarray(task.query.x) @ params["kernel"] + params["bias"]
    expected.append(int((np.asarray(logits).argmax(1) == task.query.y).sum()))
  assert found.shape == (12,)
  np.testing.assert_array_equal(found, expected)
  assert 0 < found.mean() < 12


def test_task_keys_are_the_tasks():
  """A seed gives the same tasks again, another seed others, all different."""
  data = jax.random.key_data
  np.testing.assert_array_equal(data(task_keys(7, 12)), data(KEYS))
  both = np.concatenate([data(KEYS), data(task_keys(8, 12))])
  assert len(np.unique(both, axis=0)) == 24


def test_choose_takes_the_trial_with_the_most_correct_answers(features: ClassSet):
  trials = [_method(noise) for noise in (30.0, 0.0, 10.0)]
  assert choose(trials, features, FORM, KEYS) is trials[1]
  assert choose(trials[:1], features, FORM, KEYS) is trials[0]
