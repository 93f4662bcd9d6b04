"""Intervals over tasks and over classes: by hand, by brute force, by bootstrap."""

import numpy as np
import pytest

from mcdi_jax.evaluation import Measure, Scores, difference, estimate
from mcdi_jax.evaluation.intervals import clustered_interval, mean_and_interval


def _over_tasks(values: np.ndarray) -> float:
  variance = sum((v - np.mean(values)) ** 2 for v in values) / (len(values) - 1)
  return 1.96 * (variance / len(values)) ** 0.5


def test_interval_over_tasks():
  values = np.random.default_rng(0).normal(size=100)
  expected = (values.mean(), _over_tasks(values))
  assert mean_and_interval(values) == pytest.approx(expected)
  assert mean_and_interval(np.full(5, 2.0)) == (2.0, 0.0)


def test_a_case_by_hand():
  """Two tasks of classes (0, 1) and (0, 2), four queries each: class 0 has 6 of 8 right,
  1 has 4 of 4, 2 has 2 of 4; p = 12/16. Residuals 0, 1, −1; Var = 3/2 · 2/256; the
  t-quantile of 2 degrees is 4.302653."""
  right, classes = np.array([[2, 4], [4, 2]]), np.array([[0, 1], [0, 2]])
  found = estimate(Scores(right, classes), Measure(asked=4, clusters=3))
  assert found.mean == pytest.approx(75)
  assert found.ci95_cluster == pytest.approx(100 * 4.302653 * np.sqrt(3 / 256), rel=1e-6)


def test_a_character_and_its_turns_are_one_cluster():
  """With 3 upright classes, 4 is class 1 turned; told apart they are two."""
  right = np.array([[2, 4], [4, 2]])
  turned, upright = np.array([[3, 4], [0, 8]]), np.array([[0, 1], [0, 2]])
  found = estimate(Scores(right, turned), Measure(4, 3))
  assert found == estimate(Scores(right, upright), Measure(4, 3))
  assert found != estimate(Scores(right, turned), Measure(4, 12))


def test_without_turns_each_number_is_a_cluster():
  scores = Scores(np.array([[2, 4], [4, 2]]), np.array([[0, 1], [0, 2]]))
  assert estimate(scores, Measure(4, None)) == estimate(scores, Measure(4, 3))


def test_one_cluster_says_nothing_about_others():
  scores = Scores(np.array([[1], [2]]), np.array([[0], [0]]))
  assert estimate(scores, Measure(4, 3)).ci95_cluster is None


def _drawn(tasks: int, classes: int, spread: float, seed: int) -> Scores:
  """5-way tasks of 4 queries; classes differ in how easy they are."""
  rng = np.random.default_rng(seed)
  ease = np.clip(0.7 + spread * rng.normal(size=classes), 0, 1)
  drawn = np.stack([rng.choice(classes, 5, replace=False) for _ in range(tasks)])
  return Scores(rng.binomial(4, ease[drawn]), drawn)


def test_it_is_what_drawing_classes_anew_gives():
  """The sd of a bootstrap over classes, 1.96 of which the interval is for many of them;
  classes that differ make it wider than that over tasks."""
  scores = _drawn(800, 60, 0.2, 0)
  rng = np.random.default_rng(1)
  flat = scores.clusters.reshape(-1)
  a = np.bincount(flat, scores.values.reshape(-1), 60)
  n = 4 * np.bincount(flat, minlength=60)
  draws = rng.integers(0, 60, (4000, 60))
  boot = 100 * np.std(a[draws].sum(1) / n[draws].sum(1))
  found = estimate(scores, Measure(4, 60))
  assert found.ci95_cluster == pytest.approx(2.001 * boot, rel=0.06)
  assert found.ci95_cluster > 2 * found.ci95


def test_it_covers_the_mean_of_unseen_classes():
  """In about 95 of 100 worlds of 12 classes, where 1.96 for the t-quantile, or tasks for
  classes, would not."""
  covered = [
    abs(found.mean - 70) <= found.ci95_cluster
    for seed in range(400)
    for found in [estimate(_drawn(100, 12, 0.1, seed), Measure(4, 12))]
  ]
  assert 0.92 <= np.mean(covered) <= 0.98


def test_differences_are_paired_by_task_and_class():
  """Equal outcomes leave nothing; else a_c is that of the difference."""
  this, rival = _drawn(50, 10, 0.3, 0), _drawn(50, 10, 0.3, 0)
  measure = Measure(4, 10)
  assert difference(this, rival, measure) == (0, 0, 0)
  worse = Scores(np.maximum(rival.values - (rival.clusters == 3), 0), rival.clusters)
  found = difference(this, worse, measure)
  gap = this.values - worse.values
  a = np.array([gap[this.clusters == c].sum() for c in range(10)])
  n = np.array([4 * (this.clusters == c).sum() for c in range(10)])
  p = a.sum() / n.sum()
  variance = 10 / 9 * sum((a - p * n) ** 2) / n.sum() ** 2
  assert found.mean == pytest.approx(100 * p)
  assert found.ci95 == pytest.approx(_over_tasks(100 * gap.sum(1) / 20))
  assert found.ci95_cluster == pytest.approx(100 * 2.262157 * variance**0.5, rel=1e-6)


def test_classes_that_are_never_drawn_are_no_clusters():
  right, classes = np.array([[2, 4], [4, 1]]), np.array([[0, 7], [0, 7]])
  dense = np.array([[0, 1], [0, 1]])
  found = clustered_interval(Scores(right, classes), Measure(4, 8))
  assert found == clustered_interval(Scores(right, dense), Measure(4, 8))
