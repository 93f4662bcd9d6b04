"""Settings of meta-training."""

import dataclasses
from typing import Literal

from mcdi_jax.lib.config import check

Algorithm = Literal["reptile", "single_level"]


@dataclasses.dataclass(frozen=True)
class MetaConfig:
  """Meta-training of the score network.

  Attributes:
    steps: outer steps of REPTILE.
    tasks: B, tasks an outer step.
    draws: (i, t, ε) drawn for each task and inner step.
    inner_steps: J.
    inner_rate: η, of the plain descent within a task.
    optimiser: of the outer step: `adam` on the pseudo-gradient with a warm-up and a
      cosine to 0, or `sgd`, whose rate the paper's ζ gives as ζ J η.
    rate: peak rate of `adam`; ζ of `sgd`.
    warmup: share of the steps in which the rate rises.
    clip: largest norm of the (pseudo-)gradient; 0 is off.
    ema: decay of the averaged score network, which is the one that generates.
    ways, shots: forms of task; if several are given, every combination takes its turn.
    most_items: in a support; of several forms those with more are left out; 0: none.
    support: `redrawn` at each outer step, or `kept`: each bank task has one support.
    drop_condition: share of the draws without a condition, which `compose.guide` needs.
    validate_every: outer steps between looks at the validation tasks.
    validation_tasks: how many.
    select: `best` by accuracy on the validation tasks, or `last`.
    save_every: outer steps between checkpoints.
  """

  steps: int = 1000
  tasks: int = 16
  draws: int = 6
  inner_steps: int = 3
  inner_rate: float = 0.005
  optimiser: Literal["adam", "sgd"] = "adam"
  rate: float = 3e-3
  warmup: float = 0.05
  clip: float = 1.0
  ema: float = 0.995
  ways: tuple[int, ...] = (5,)
  shots: tuple[int, ...] = (1,)
  most_items: int = 0
  support: Literal["redrawn", "kept"] = "redrawn"
  drop_condition: float = 0.0
  validate_every: int = 250
  validation_tasks: int = 1000
  select: Literal["best", "last"] = "best"
  save_every: int = 500

  def __post_init__(self):
    counts = ("steps", "tasks", "draws", "inner_steps", "validate_every")
    for name in (*counts, "validation_tasks", "save_every"):
      value = getattr(self, name)
      check(value >= 1, f"config.meta.{name}", value, "give at least 1")
    for name in ("rate", "inner_rate"):
      value = getattr(self, name)
      check(value > 0, f"config.meta.{name}", value, "give a positive rate")
    check(0 <= self.warmup < 1, "config.meta.warmup", self.warmup, "give a share in [0, 1)")
    check(self.clip >= 0, "config.meta.clip", self.clip, "give at least 0; 0 is off")
    check(0 <= self.ema < 1, "config.meta.ema", self.ema, "give a decay in [0, 1)")
    share = self.drop_condition
    check(0 <= share < 1, "config.meta.drop_condition", share, "give a share in [0, 1)")
    shots_fit = min(self.shots, default=0) >= 1
    check(shots_fit, "config.meta.shots", self.shots, "give numbers of at least 1")
    most, forms = self.most_items, [n * k for n in self.ways for k in self.shots]
    remedy = f"the smallest form has {min(forms, default=0)} items, give as many, or 0"
    fits = most == 0 or most >= min(forms, default=0)
    check(fits, "config.meta.most_items", most, remedy)

  def loop_steps(self, algorithm: Algorithm, outer_steps: int) -> int:
    """Outer steps in steps of the loop: single-level training takes J times as many, so
    that both algorithms see equally many (task, i, t, ε) draws."""
    return outer_steps * (self.inner_steps if algorithm == "single_level" else 1)
