"""Figures as SVG inside the page: no outside reference, ids of their own, little text."""

import io
import re

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

from mcdi_jax.report.markup import Html, safe, tag

# Okabe and Ito's colours without the yellow: told apart by the colour-blind, and on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a6517e", "#000000", "#56b4e9", "#b87a00")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^v"
_LONG = 14  # letters of a label that no longer fit beside a line
_TITLE = "mcdi_jax figure"  # by which a file is known again
_MOST_POINTS = 400  # of one line: more cannot be seen, and make the page heavy
_STYLE = {
  "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
  "svg.hashsalt": "mcdi_jax",  # the same input makes the same ids
  "font.size": 10.0,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.unicode_minus": True,
}

Points = list[tuple[int, float]]
Series = list[tuple[str, Points]]  # (label, line); lines of one label look the same


def new_axes(width: float = 4.6, height: float = 3.0) -> Axes:
  """Axes of a figure of this size in inches; 4.6 fits a phone without shrinking much."""
  with matplotlib.rc_context(_STYLE):
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def as_bytes(figure: Figure, format_: str, **options: object) -> bytes:
  """The figure as a file, `svg`, `png` or `pdf`; options: of `Figure.savefig`."""
  content = io.BytesIO()
  for text in figure.findobj(Text):
    text.set_parse_math(False)  # names may hold dollars
  about = {"Title": _TITLE}
  about |= {"Date": None} if format_ == "svg" else {}  # the same input, the same file
  with matplotlib.rc_context(_STYLE):
    figure.savefig(content, format=format_, metadata=about, **options)
  return content.getvalue()


def is_figure(content: bytes) -> bool:
  """Whether a file is a figure that was written here."""
  return _TITLE.encode() in content


def embed(axes: Axes, name: str, title: str, caption: object, class_: str = "") -> Html:
  """The axes' figure as an element of the page.

  Args:
    name: unique on the page: all ids of the drawing start with it.
    title: what the figure shows, for those who do not see it.
  """
  drawing = as_bytes(axes.figure, "svg").decode()
  drawing = drawing[drawing.index("<svg") :]
  for pattern in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
    drawing = re.sub(pattern, "", drawing, flags=re.DOTALL)
  drawing = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawing).replace("xlink:href", "href")
  drawing = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
  # Two decimals of a point are finer than any screen.
  drawing = re.sub(r' d="[^"]*"', lambda d: re.sub(r"(\.\d\d)\d+", r"\1", d[0]), drawing)
  label = f"{name}-title"
  drawing = drawing.replace("<svg", f'<svg role="img" aria-labelledby="{label}"', 1)
  first, rest = drawing.split(">", 1)
  drawing = f"{first}>{tag('title', safe(title), id=label)}{rest}"
  text = tag("figcaption", caption)
  return tag("figure", Html(drawing.strip()), text, class_=class_ or None)


def line_figure(
  name: str,
  title: str,
  caption: object,
  series: Series,
  *,
  x: str = "step",
  y: str = "",
  logarithmic: bool = False,
) -> Html | None:
  """Lines over steps, labelled at their ends; None without any point."""
  series = [(label, thin(points)) for label, points in series if points]
  if not series:
    return None
  axes = new_axes()
  labels = list(dict.fromkeys(label for label, _ in series))
  long = max(map(len, labels)) > _LONG
  ends: dict[str, list[float]] = {label: [] for label in labels}
  for label, points in series:
    number = labels.index(label)
    steps, values = zip(*points, strict=True)
    axes.plot(
      steps,
      values,
      color=COLOURS[number % len(COLOURS)],
      # A key needs more than colour; a label beside its line does not.
      linestyle=_DASHES[number // (1 if long else len(COLOURS)) % len(_DASHES)],
      marker=_MARKERS[number % len(_MARKERS)] if len(points) < 30 else None,
      markersize=3.5,
      linewidth=1.3,
      label=None if ends[label] else label,
    )
    ends[label].append(values[-1])
  axes.set(xlabel=x, ylabel=y, xscale="log" if logarithmic else "linear")
  if logarithmic:
    label_logarithm(axes.xaxis)
  if long:
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, -0.2))
  elif labels != [""]:
    label_ends(axes, {label: float(np.mean(values)) for label, values in ends.items()})
  return embed(axes, name, title, caption)


def scatter_figure(
  name: str,
  title: str,
  caption: object,
  points: dict[str, tuple[float, float]],
  front: list[str],
  *,
  x: str,
  y: str,
) -> Html:
  """`scatter` as an element of the page, the names below."""
  columns = 2 if max(map(len, points)) < 30 else 1
  axes = new_axes(height=3.1 + 0.19 * -(-len(points) // columns))
  scatter(axes, points, front, names=list(points), x=x, y=y)
  place = {"loc": "upper left", "bbox_to_anchor": (-0.1, -0.2)}
  axes.legend(frameon=False, fontsize=8, ncols=columns, **place)
  return embed(axes, name, title, caption)


def scatter(
  axes: Axes,
  points: dict[str, tuple[float, float]],
  front: list[str],
  *,
  names: list[str],
  x: str,
  y: str,
) -> None:
  """Named points over a logarithmic x, told apart by colour and marker.

  Args:
    front: names of those that a dotted line joins.
    names: all that there are in this figure and those beside it.
  """
  axes.plot(*zip(*(points[n] for n in front), strict=True), ":", color="#888888", zorder=0)
  for label, (left, up) in points.items():
    number = names.index(label)
    colour = COLOURS[number % len(COLOURS)]
    marker = _MARKERS[number // len(COLOURS) % len(_MARKERS)]
    axes.plot([left], [up], marker, color=colour, markersize=5, label=label)
  axes.set(xlabel=x, ylabel=y, xscale="log")
  label_logarithm(axes.xaxis)


def label_logarithm(axis: Axis) -> None:
  """Plain numbers at the decades of what is drawn so far, and at 2 and 5 where it is fewer
  than two: matplotlib's own are mathematics, which is not read in files."""
  low, high = axis.get_view_interval()
  axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
  axis.set_major_formatter("{x:g}")
  axis.set_minor_formatter(NullFormatter())


def thin(points: Points) -> Points:
  """Evenly thinned out, the last one kept."""
  every = -(-len(points) // _MOST_POINTS)
  return points[::-1][::every][::-1]


def label_ends(axes: Axes, ends: dict[str, float]) -> None:
  """Writes labels beside the right end of lines, moved apart where they would overlap.

  Args:
    ends: value at the end by label, in the order of the colours.
  """
  low, high = axes.get_ylim()
  colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(ends)}
  gap = min(0.075, 1 / len(ends))
  ordered = sorted(ends, key=lambda name: ends[name])
  heights = [(ends[name] - low) / (high - low) for name in ordered]
  for i in range(1, len(heights)):  # each at least a gap above the one before
    heights[i] = max(heights[i], heights[i - 1] + gap)
  heights[-1] = min(heights[-1], 1.0)
  for i in range(len(heights) - 2, -1, -1):  # what was pushed out at the top comes down
    heights[i] = min(heights[i], heights[i + 1] - gap)
  for name, height in zip(ordered, heights, strict=True):
    axes.annotate(
      name,
      (1.01, height),
      xycoords="axes fraction",
      color=colours[name],
      fontsize=9,
      verticalalignment="center",
    )
