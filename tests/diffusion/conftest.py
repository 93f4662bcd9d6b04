"""ᾱ by brute force, so that no test of the chain rests on the chain."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest


class ByHand(NamedTuple):
  """boundaries [k]; segment [T] is i(t); alpha_bar [k, T+1] is ᾱ^i_t, 1 from b_i on;
  own [T] is ᾱ^{i(t)}_t."""

  boundaries: list[int]
  segment: np.ndarray
  alpha_bar: np.ndarray
  own: np.ndarray


def _by_hand(alpha: np.ndarray, segments: int) -> ByHand:
  steps = len(alpha)
  boundaries = [int(np.floor(i * steps / segments + 0.5)) for i in range(1, segments + 1)]
  segment = np.array([sum(t >= b for b in boundaries) for t in range(steps)])
  alpha_bar = np.ones((segments, steps + 1))
  for i, b in enumerate(boundaries):
    for t in range(b):
      for j in range(t, b):
        alpha_bar[i, t] *= alpha[j]
  own = alpha_bar[segment, np.arange(steps)]
  return ByHand(boundaries, segment, alpha_bar, own)


@pytest.fixture(scope="session")
def by_hand() -> Callable[[np.ndarray, int], ByHand]:
  return _by_hand
