"""How long a function takes, and what the machine can do at best."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LEAST, _MOST = 3, 1000  # calls
_SPREAD = 0.01  # of the median, relative to it: its standard error


class Latency(NamedTuple):
  """median_ms: of the timed calls. batch: tasks a call. calls: how many were timed.
  compile_s: of the first call. flops: floating-point operations a call."""

  median_ms: float
  batch: int
  calls: int
  compile_s: float
  flops: float = 0.0

  @property
  def flops_per_s(self) -> float:
    return 1000 * self.flops / self.median_ms


def measure(
  fn: Callable[..., Any], *arguments: Any, batch: int, seconds: float, flops: float = 0.0
) -> Latency:
  """Times a function as it is called, each call until its result is there; the first call,
  which compiles, apart. Stops when the median is known to 1 %, or after `seconds` of timed
  calls; three are timed in any case."""

  def call() -> float:
    start = time.perf_counter()
    jax.block_until_ready(fn(*arguments))
    return time.perf_counter() - start

  compile_s, taken = call(), [call() for _ in range(_LEAST)]
  while len(taken) < _MOST and sum(taken) < seconds and median_error(taken) > _SPREAD:
    taken.append(call())
  return Latency(1000 * float(np.median(taken)), batch, len(taken), compile_s, flops)


def median_error(values: list[float]) -> float:
  """Relative standard error of the median, from the quartiles: 0.93 (q₃ − q₁)/√n for a
  normal distribution (McGill et al. 1978); unknown below ten values."""
  if len(values) < 10:
    return np.inf
  low, median, high = np.percentile(values, [25, 50, 75])
  return float(0.93 * (high - low) / np.sqrt(len(values)) / median)


def matmul_peak() -> float:
  """FLOP/s of a float32 n×n matmul; n doubles from 1024 until a call takes 10 ms."""
  n, best = 1024, 0.0
  while True:
    x = jnp.ones((n, n))
    flops = 2.0 * n**3
    found = measure(jax.jit(jnp.matmul), x, x, batch=1, seconds=0.1, flops=flops)
    best = max(best, found.flops_per_s)
    if found.median_ms > 10 or n == 8192:
      return best
    n *= 2


def program_flops(fn: Callable[..., Any], *arguments: Any) -> float:
  """As XLA counts them; the body of a loop counts once, whatever its length."""
  analysis = jax.jit(fn).lower(*arguments).compile().cost_analysis()
  return float(analysis["flops"])
