"""Unsupervised alignment: the items of a source domain are brought to the distribution of
unlabelled ones of a target (CORAL; Sun, Feng & Saenko 2016), before a method sees them."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

_SHARE = 1.0  # of the mean variance, added to each: CORAL adds 1, of standardised features
Map = Callable[[Float[Array, "n D"]], Float[Array, "n D"]]


def mean_alignment(x: Float[Array, "n D"], unlabelled: Float[Array, "m D"]) -> Map:
  """Of items of one domain: their mean becomes that of the unlabelled items."""
  shift = unlabelled.mean(0) - x.mean(0)
  return lambda x: x + shift


def coral(x: Float[Array, "n D"], unlabelled: Float[Array, "m D"]) -> Map:
  """The mean, and the covariance, both with something added to each variance."""
  centre, goal = x.mean(0), unlabelled.mean(0)
  matrix = _root(x, -0.5) @ _root(unlabelled, 0.5)
  return lambda x: (x - centre) @ matrix + goal


def _root(x: Float[Array, "n D"], power: float) -> Float[Array, "D D"]:
  """(C + sI)^power, s relative to the mean variance."""
  about = x - x.mean(0)
  variances, directions = jnp.linalg.eigh(about.T @ about / len(x))
  filled = jnp.maximum(variances, 0) + _SHARE * jnp.mean(variances) + 1e-12
  return (directions * filled**power) @ directions.T


ALIGNMENTS = {"unlabelled": mean_alignment, "coral": coral}
