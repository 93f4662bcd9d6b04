"""The denoising chain: its error segment by segment, and its way over the task's loss.

Time runs with generation: t = 0 is noise, t = T the weights.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from mcdi_jax.report.figure import COLOURS, embed, label_ends, new_axes
from mcdi_jax.report.markup import Html, note, section, tag

Arrays = dict[str, np.ndarray]

_KINDS = {"train": "training tasks", "test": "unseen tasks"}
_LEVELS = 13
ERROR_ARRAYS = (
  "chain_error_train",
  "chain_error_test",
  "chain_boundaries",
  "chain_gap_train",
  "chain_gap_test",
)
PLANE_ARRAYS = (
  "plane_loss",
  "plane_x",
  "plane_y",
  "plane_chains",
  "plane_targets",
  "plane_quality",
)


def error_section(arrays: Arrays) -> Html:
  """Error of the estimate at each t, and the gap where one segment hands over."""
  gaps = len(arrays["chain_boundaries"]) > 1
  figures = [_error_figure(arrays), *([_gap_figure(arrays)] if gaps else [])]
  alone = None if gaps else note("There is one segment, so nothing is handed over.")
  return section(
    "Error along the denoising chain", tag("div", *figures, class_="figures"), alone
  )


def _error_figure(arrays: Arrays) -> Html:
  axes = new_axes()
  boundaries = [int(b) for b in arrays["chain_boundaries"]]
  ends = {}
  for kind, marker, colour in zip(_KINDS, "os", COLOURS, strict=False):
    error = arrays[f"chain_error_{kind}"]
    axes.plot(np.arange(len(error)), error, marker=marker, markersize=3.5, color=colour)
    ends[_KINDS[kind]] = float(error[-1])
  for start, end in zip([0, *boundaries[:-1]], boundaries, strict=True):
    # Segment i holds b_{i−1} ≤ t < b_i: the line stands between b_i − 1 and b_i.
    axes.text(
      (start + end - 1) / 2,
      1.02,
      f"segment {boundaries.index(end) + 1}" if len(boundaries) < 5 else f"{end}",
      transform=axes.get_xaxis_transform(),
      horizontalalignment="center",
      fontsize=9,
    )
    if end != boundaries[-1]:
      axes.axvline(end - 0.5, color="#777777", linestyle="--", linewidth=0.9)
  axes.set_ylim(bottom=0)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  axes.set(xlabel="t (0 is noise)", ylabel="rms error of the estimate")
  label_ends(axes, ends)
  caption = (
    "Root mean square error of the estimate at each step t against the local target of the "
    "segment that holds t, where targets have rms 1."
  )
  if len(boundaries) > 1:
    inner = ", ".join(f"t = {b}" for b in boundaries[:-1])
    caption += f" Dashed: where one segment hands over to the next ({inner})."
  return embed(axes, "chain-error", caption, caption)


def _gap_figure(arrays: Arrays) -> Html:
  axes = new_axes()
  boundaries = [int(b) for b in arrays["chain_boundaries"][:-1]]
  places = np.arange(len(boundaries))
  for shift, kind, colour, hatch in ((-0.2, "train", 0, ""), (0.2, "test", 1, "//")):
    bars = axes.bar(
      places + shift,
      arrays[f"chain_gap_{kind}"],
      width=0.36,
      color=COLOURS[colour],
      edgecolor="white",
      hatch=hatch,
      label=_KINDS[kind],
    )
    if len(boundaries) < 5:
      axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=1)
  axes.set_xticks(
    places, [f"{i + 1} to {i + 2}\n(t = {b})" for i, b in enumerate(boundaries)]
  )
  axes.set(xlabel="from segment to segment", ylabel="gap / noise there")
  axes.margins(y=0.12)
  axes.legend(
    frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2
  )
  caption = (
    "Hand-over gap: how far the point that a segment hands over lies from where the next "
    "segment was trained, in units of the noise there."
  )
  return embed(axes, "chain-gap", caption, caption)


def plane_section(arrays: Arrays) -> Html:
  """Inference chains over the loss of one task, in a plane of weights."""
  x, y = arrays["plane_x"], arrays["plane_y"]
  height = 3.7 * float(np.ptp(y) / np.ptp(x))  # of the plane itself, in inches
  axes = new_axes(5.0, 1.2 + min(max(height, 1.5), 6.0))
  axes.set_aspect("equal")
  _contours(axes, arrays)
  for number, chain in enumerate(arrays["plane_chains"]):
    _draw_chain(axes, chain, number)
  for number, target in enumerate(arrays["plane_targets"], 1):
    label = "local targets, numbered" if number == 1 else None
    ring = {"marker": "o", "markersize": 13, "fillstyle": "none", "linestyle": "none"}
    axes.plot(*target, **ring, color=COLOURS[0], markeredgewidth=1.6, label=label, zorder=6)
    axes.annotate(
      str(number),
      target,
      (0, 9),
      textcoords="offset points",
      horizontalalignment="center",
      color=COLOURS[0],
      weight="bold",
      zorder=7,
    )
  axes.set(xlabel="first direction", ylabel="second direction")
  axes.legend(
    frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2
  )
  title = "Inference chains from noise to weights over the loss of one test task"
  figure = embed(axes, "plane", title, f"{title}. {_ends(arrays)}", "wide")
  return section("Inference chains over the task loss", figure)


def _draw_chain(axes: Axes, chain: np.ndarray, number: int) -> None:
  """One chain [T+1, 2], its start hollow and its end full; number 0 is the one at τ = 0."""
  first = number == 0
  colour = "black" if first else COLOURS[1]
  axes.plot(
    *chain.T,
    color=colour,
    linewidth=2.2 if first else 0.8,
    alpha=1.0 if first else 0.7,
    marker="." if first else None,
    label={0: "chain at τ = 0", 1: "samples at τ = 1"}.get(number),
    zorder=4 if first else 3,
  )
  for place, marker, label in ((0, "o", "start"), (-1, "D", "end")):
    axes.plot(
      *chain[place],
      marker=marker,
      linestyle="none",
      markersize=8 if first else 5,
      color="white" if place == 0 else colour,
      markeredgecolor=colour,
      label=label if first else None,
      zorder=5.5 if first else 5,
    )


def _contours(axes: Axes, arrays: Arrays) -> None:
  """The loss as shades of grey at levels of equal ratio."""
  loss = np.ma.masked_invalid(arrays["plane_loss"])
  high = float(loss.filled(0).max())
  low = max(float(loss.filled(high).min()), 1e-4 * high)
  if not low < high:
    return  # a flat loss has no contours
  drawn = axes.contourf(
    arrays["plane_x"],
    arrays["plane_y"],
    np.ma.clip(loss, low, high),
    levels=np.geomspace(low, high, _LEVELS),
    norm=LogNorm(low / 3, high * 30),  # light shades only: the lines lie over them
    cmap="Greys",
  )
  beside = axes.inset_axes((1.04, 0, 0.05, 1))
  bar = axes.figure.colorbar(drawn, cax=beside, label="loss")
  bar.ax.yaxis.set_minor_locator(NullLocator())
  bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))


def _ends(arrays: Arrays) -> str:
  """The metric where the chains end."""
  first, *others = (float(a) for a in arrays["plane_quality"])
  text = f"The chain at τ = 0 ends at {first:.1f} in the metric's unit"
  if others:
    text += (
      f", {len(others)} samples at τ = 1 between {min(others):.1f} and {max(others):.1f}"
    )
  return f"{text}."
