"""Spaces of settings to choose from."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

_EDGE = 0.05  # share of a log-uniform range, at each end


class LogUniform(NamedTuple):
  """Positive numbers from `low` to `high` whose logarithm is uniform."""

  low: float
  high: float


Space = dict[str, tuple[Any, ...] | LogUniform]


def draw_settings(space: Space, number: int, seed: int = 0) -> list[dict[str, Any]]:
  """`number` different settings of a space, drawn at random; all of them where it has no
  more. Fewer are the beginning of more."""
  rng = np.random.default_rng(seed)
  grids = [values for values in space.values() if not isinstance(values, LogUniform)]
  if len(grids) == len(space):
    chosen = list(itertools.product(*grids))
    if len(chosen) > number:
      chosen = [chosen[i] for i in rng.permutation(len(chosen))[:number]]
    return [dict(zip(space, values, strict=True)) for values in chosen]
  draw = lambda values: (  # noqa: E731
    float(f"{math.exp(rng.uniform(*np.log(values))):.4g}")
    if isinstance(values, LogUniform)
    else values[rng.integers(len(values))]
  )
  return [{name: draw(v) for name, v in space.items()} for _ in range(number)]


def at_edge(space: Space, settings: dict[str, Any]) -> list[str]:
  """Names of the numbers that lie at an end of their range, so that better ones may lie
  beyond. 0 is an end of nothing; neither is a choice without an order."""
  return [name for name, values in space.items() if _is_end(settings[name], values)]


def _is_end(value: Any, values: tuple[Any, ...] | LogUniform) -> bool:
  if isinstance(values, LogUniform):
    low, high = np.log(values)
    share = (math.log(value) - low) / (high - low)
    return not _EDGE <= share <= 1 - _EDGE
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return number and len(values) > 1 and value != 0 and value in (min(values), max(values))
