"""Schedules and segments (`method.md` 2 and 3.12).

Time runs with generation: t = 0 is noise, t = T is the last target θ_M. Segment i covers
t ∈ [b_{i−1}, b_i) with b_0 = 0 and b_k = T; local target i is where the chain is at b_i.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.spacing import evenly_spaced

START_LIMIT = 0.01  # ᾱ^1_0 above this: the chain starts from noise it never saw


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
  """The denoising chain and its loss.

  Attributes:
    steps: T, denoising steps.
    segments: k; local targets and segments. Preparation records as many.
    schedule: `linear`: 1−α_j from `start` to `end`; `linear_auto`: the same with the
      smallest start for which ᾱ^1_0 ≤ 0.01 (for T ≤ 10); `cosine`.
    start, end: of the linear schedule.
    objective: `windowed`: a step trains towards the target of its own segment;
      `published`: towards every target that lies ahead; `naive`: every step towards any
      target of the bank, each as if it were the chain's end; k is 1.
    form: of the network's output: `preconditioned` predicts F, `plain` predicts f.
    sampler: `windowed` or `published`; `own`: the one that belongs to the objective, the
      windowed one to `naive` (mixing them is an ablation).
    ancestral: s = 1 of the windowed sampler: noise is injected; else s = 0.
    handover: probability that a windowed draw starts from where the sampler comes out of
      the segment before, instead of around its own target.
  """

  steps: int = 20
  segments: int = 3
  schedule: Literal["linear", "linear_auto", "cosine"] = "linear"
  start: float = 0.75
  end: float = 0.02
  objective: Literal["windowed", "published", "naive"] = "windowed"
  form: Literal["preconditioned", "plain"] = "preconditioned"
  sampler: Literal["own", "windowed", "published"] = "own"
  ancestral: bool = False
  handover: float = 0.0

  def __post_init__(self):
    where = "config.diffusion"
    check(self.steps >= 1, f"{where}.steps", self.steps, "T must be at least 1")
    remedy = f"k must be between 1 and T = {self.steps} (config.diffusion.steps)"
    check(1 <= self.segments <= self.steps, f"{where}.segments", self.segments, remedy)
    check(0 <= self.handover <= 1, f"{where}.handover", self.handover, "give 0 to 1")
    naive = self.objective == "naive"
    remedy = f"{where}.objective 'naive' knows no segments: set it to 1"
    check(self.segments == 1 or not naive, f"{where}.segments", self.segments, remedy)
    if self.handover and self.objective != "windowed":
      raise InputError(f"{where}.handover needs {where}.objective 'windowed': set it to 0")
    if self.handover and self.sampler_name == "published":
      raise InputError(f"{where}.handover needs the windowed sampler: set it to 0")
    if self.ancestral and self.sampler_name == "published":
      raise InputError(f"{where}.ancestral needs the windowed sampler: set it to False")

  @property
  def sampler_name(self) -> str:
    own = "published" if self.objective == "published" else "windowed"
    return own if self.sampler == "own" else self.sampler


class Schedule(NamedTuple):
  """alpha: float [T], α_0 … α_{T−1} in (0, 1); T is static by its shape."""

  alpha: Any


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Segments:
  """boundaries: b_1 < … < b_k = T."""

  boundaries: tuple[int, ...]

  def of_step(self) -> np.ndarray:
    """int [T]: i(t) − 1, the (zero-based) segment that holds t."""
    return np.searchsorted(self.boundaries, np.arange(self.boundaries[-1]), side="right")


def make_segments(steps: int, segments: int) -> Segments:
  return Segments(evenly_spaced(steps, segments))


def make_schedule(config: DiffusionConfig) -> Schedule:
  """The configured schedule; raises as `alphas` does."""
  return Schedule(jnp.asarray(alphas(config)))


def alphas(config: DiffusionConfig) -> np.ndarray:
  """α_0 … α_{T−1} as float32 [T], by numpy alone: settings are checked without a device.

  Raises:
    InputError: ᾱ^1_0 > 0.01, or α outside (0, 1).
  """
  first = evenly_spaced(config.steps, config.segments)[0]
  make = {"linear": _linear, "linear_auto": _linear_auto, "cosine": _cosine}
  alpha = make[config.schedule](config, first)
  rounded = np.float32(alpha)  # as it will be used
  if not ((rounded > 0) & (rounded < 1)).all():
    raise InputError(
      f"config.diffusion.start {config.start} and end {config.end} give an α outside "
      "(0, 1): choose both between 0 and 1"
    )
  begin = float(np.prod(alpha[:first]))
  if begin > START_LIMIT:
    raise InputError(
      f"config.diffusion.schedule {config.schedule!r} with T = {config.steps} has "
      f"ᾱ^1_0 = {begin:.3g} > {START_LIMIT}: raise config.diffusion.start or steps, or "
      "use schedule 'linear_auto'"
    )
  return rounded


def _linear(config: DiffusionConfig, first: int) -> np.ndarray:
  del first
  return 1 - np.linspace(config.start, config.end, config.steps)


def _linear_auto(config: DiffusionConfig, first: int) -> np.ndarray:
  low, high = config.end, 1 - 1e-6
  for _ in range(60):
    middle = (low + high) / 2
    alpha = _linear(dataclasses.replace(config, start=middle), first)
    low, high = (low, middle) if np.prod(alpha[:first]) <= START_LIMIT else (middle, high)
  return _linear(dataclasses.replace(config, start=high), first)


def _cosine(config: DiffusionConfig, first: int) -> np.ndarray:
  del first
  j = np.arange(config.steps + 1) / config.steps
  g = np.cos(((1 - j) + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.clip(g[:-1] / g[1:], 1e-3, 1 - 1e-4)
