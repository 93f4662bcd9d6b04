"""95 % intervals: over test tasks, and over the classes that the tasks are made of.

Queries of one class are not independent. The interval over tasks says how well the
accuracy on *these* classes is known, the one that is clustered by class how well that on
unseen classes of the same kind is.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from mcdi_jax.evaluation.accuracy import Counts


class Estimate(NamedTuple):
  """In percent: a mean, its interval over tasks, and that over clusters of classes (None
  where there is one cluster)."""

  mean: float
  ci95: float
  ci95_cluster: float | None


def estimate(
  right: np.ndarray, classes: np.ndarray, queries: int, clusters: int
) -> Estimate:
  """Of right answers, or of differences between those of two methods.

  Args:
    right: int [tasks, N], of `queries` each.
    classes: int [tasks, N].
    clusters: c and c + `clusters` belong together, as a character and its turns do.
  """
  by_task = 100 * right.mean(1) / queries
  mean, ci95 = mean_and_interval(by_task)
  return Estimate(mean, ci95, clustered_interval(right, classes % clusters, queries))


def difference(this: Counts, rival: Counts, queries: int, clusters: int) -> Estimate:
  """this − rival, task by task and class by class, on the same tasks."""
  return estimate(this.right - rival.right, this.classes, queries, clusters)


def mean_and_interval(values: np.ndarray) -> tuple[float, float]:
  """Mean, and 1.96 · sd over tasks / √tasks."""
  return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def clustered_interval(
  right: np.ndarray, cluster: np.ndarray, queries: int
) -> float | None:
  """Half width in percent, of p = Σ a_c / Σ n_c over C clusters with a_c of n_c right:
  Var = C/(C−1) Σ_c (a_c − p n_c)² / (Σ n_c)², times the t-quantile of C − 1 degrees."""
  asked = queries * np.bincount(cluster.reshape(-1))
  a = np.bincount(cluster.reshape(-1), weights=right.reshape(-1))[asked > 0]
  n = asked[asked > 0]
  if len(n) < 2:
    return None
  residual = a - a.sum() / n.sum() * n
  variance = len(n) / (len(n) - 1) * np.sum(residual**2) / n.sum() ** 2
  return float(100 * stdtrit(len(n) - 1, 0.975) * np.sqrt(variance))
