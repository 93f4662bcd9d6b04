"""95 % intervals: over test tasks, and over the clusters, such as classes, that the tasks
are made of.

Queries of one class are not independent. The interval over tasks says how well the figure
on *these* classes is known, the one that is clustered by class how well that on unseen
classes of the same kind is.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from mcdi_jax.evaluation.scores import Scores


class Measure(NamedTuple):
  """What scores are in a figure.

  Attributes:
    asked: queries in a score.
    clusters: c and c + `clusters` belong together, as a character and its turns do; None:
      each number is a cluster.
    scale: from the mean score of a query to the figure: 100 for percent.
  """

  asked: int
  clusters: int | None
  scale: float = 100.0


class Estimate(NamedTuple):
  """In the metric's unit: a mean, its interval over tasks, and that over clusters (None
  where there is one cluster)."""

  mean: float
  ci95: float
  ci95_cluster: float | None


def estimate(scores: Scores, measure: Measure) -> Estimate:
  """Of scores, or of differences between those of two methods."""
  by_task = measure.scale * scores.values.mean(1) / measure.asked
  mean, ci95 = mean_and_interval(by_task)
  return Estimate(mean, ci95, clustered_interval(scores, measure))


def difference(this: Scores, rival: Scores, measure: Measure) -> Estimate:
  """this − rival, task by task and cluster by cluster, on the same tasks."""
  return estimate(Scores(this.values - rival.values, this.clusters), measure)


def mean_and_interval(values: np.ndarray) -> tuple[float, float]:
  """Mean, and 1.96 · sd over tasks / √tasks."""
  return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def clustered_interval(scores: Scores, measure: Measure) -> float | None:
  """Half width, of p = Σ a_c / Σ n_c over C clusters with a score a_c of n_c queries:
  Var = C/(C−1) Σ_c (a_c − p n_c)² / (Σ n_c)², times the t-quantile of C − 1 degrees."""
  cluster = scores.clusters.reshape(-1)
  cluster = cluster if measure.clusters is None else cluster % measure.clusters
  asked = measure.asked * np.bincount(cluster)
  a = np.bincount(cluster, weights=scores.values.reshape(-1))[asked > 0]
  n = asked[asked > 0]
  if len(n) < 2:
    return None
  residual = a - a.sum() / n.sum() * n
  variance = len(n) / (len(n) - 1) * np.sum(residual**2) / n.sum() ** 2
  return float(measure.scale * stdtrit(len(n) - 1, 0.975) * np.sqrt(variance))
