"""A bank as a picture: losses at its targets, and how much its trajectories bend."""

import numpy as np
from matplotlib.figure import Figure

from mcdi_jax.preparation import BankFacts
from mcdi_jax.report.figure import COLOURS, as_bytes, label_logarithm

_MOST = 200  # trajectories that are drawn


def bank_picture(facts: BankFacts) -> bytes:
  """A PNG."""
  figure = Figure(figsize=(9, 3.2), layout="constrained")
  left, right = figure.subplots(1, 2)
  if facts.losses is None:
    left.text(0.5, 0.5, "no losses are recorded", ha="center", transform=left.transAxes)
  else:
    number = np.arange(1, facts.targets + 1)
    left.plot(number, facts.losses[:_MOST].T, color=COLOURS[0], alpha=0.1)
    left.plot(number, np.median(facts.losses, 0), color="black", label="median")
    if facts.losses.min() > 0:
      left.set_yscale("log")
      label_logarithm(left.yaxis)
    left.set_xticks(number)
    left.legend(frameon=False)
  left.set(xlabel="local target", ylabel="loss", title=f"{facts.tasks:,} tasks")
  if facts.bends.size:
    right.hist(facts.bends.reshape(-1), bins=30, color=COLOURS[0])
  else:
    right.text(0.5, 0.5, "fewer than 3 targets", ha="center", transform=right.transAxes)
  right.set(xlabel="cosine of successive steps", ylabel="trajectories")
  return as_bytes(figure, "png", dpi=120)
