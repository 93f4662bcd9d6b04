"""How long a compiled function takes, and what the machine can do at best."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Latency(NamedTuple):
  """median_ms: of the timed calls. batch: tasks a call. compile_s: of the first call.
  flops: floating-point operations a call."""

  median_ms: float
  batch: int
  compile_s: float
  flops: float

  @property
  def flops_per_s(self) -> float:
    return 1000 * self.flops / self.median_ms


def measure(
  fn: Callable[..., Any],
  *arguments: Any,
  batch: int,
  calls: int,
  flops: float = 0.0,
) -> Latency:
  """Times a jitted function, each call until its result is there; compilation apart."""
  start = time.perf_counter()
  compiled = fn.lower(*arguments).compile()
  compile_s = time.perf_counter() - start
  jax.block_until_ready(compiled(*arguments))
  seconds = []
  for _ in range(calls):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    seconds.append(time.perf_counter() - start)
  return Latency(1000 * float(np.median(seconds)), batch, compile_s, flops)


def matmul_peak() -> float:
  """FLOP/s of the best float32 n×n matmul, n in {1024, 2048, 4096}, median of 5 calls."""
  best = 0.0
  for n in (1024, 2048, 4096):
    x = jnp.ones((n, n))
    found = measure(jax.jit(jnp.matmul), x, x, batch=1, calls=5, flops=2.0 * n**3)
    best = max(best, found.flops_per_s)
  return best


def program_flops(fn: Callable[..., Any], *arguments: Any) -> float:
  """As XLA counts them; the body of a loop counts once, whatever its length."""
  analysis = jax.jit(fn).lower(*arguments).compile().cost_analysis()
  return float(analysis["flops"])
