"""What each method reaches, and how long it takes to adapt to one task."""

from matplotlib.figure import Figure

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.outputs import checked
from mcdi_jax.report.figure import as_bytes, is_figure, scatter, scatter_figure
from mcdi_jax.report.figures import Row, TaskList, group
from mcdi_jax.report.markup import Html, note, section, tag
from mcdi_jax.report.workdir import Line

_READING = (
  "Further up is better, further left is faster: methods that nothing is above and to the "
  "left of are on the dotted line. The time is the median for one task, from what the "
  "method is given to its weights; methods that were not timed are left out."
)
_FORMATS = ("svg", "png", "pdf")
Trades = dict[str, tuple[float, float]]


def trade_section(
  groups: dict[TaskList, dict[str, Row]], timings: list[Line]
) -> Html | None:
  """A figure for each list of test tasks; None where fewer than two methods were timed."""
  figures = []
  for number, (tasks, rows) in enumerate(groups.items()):
    points = trades(tasks, rows, timings)
    if len(points) < 2:
      continue
    title = f"{tasks}: {tasks.metric_title} and milliseconds for one task."
    front = best_trades(points)
    axes = {"x": "ms for one task", "y": tasks.metric_title}
    figures.append(scatter_figure(f"trade{number}", title, title, points, front, **axes))
  if not figures:
    return None
  content = tag("div", *figures, class_="figures")
  return section("Quality and time", note(_READING), content)


def write_trades(lines: list[Line], path: files.PathLike) -> None:
  """The same as a file, `.svg`, `.png` or `.pdf`: a panel for each list of test tasks.

  Raises:
    InputError: another suffix, or nothing that was timed.
  """
  path = checked(path, "--figure", ours=is_figure)
  format_ = path.suffix[1:]
  if format_ not in _FORMATS:
    raise InputError(f"--figure {path}: name a file .{', .'.join(_FORMATS)}")
  timings = [line for line in lines if line.get("latency_ms") is not None]
  panels = {}
  for tasks, rows in group([x for x in lines if x.get("value") is not None]).items():
    points = trades(tasks, rows, timings)
    if len(points) > 1:
      panels[tasks] = points
  if not panels:
    raise InputError(
      f"--figure {path}: no two methods were timed, run with config.evaluation.latency=True"
    )
  names = list(dict.fromkeys(name for points in panels.values() for name in points))
  columns = min(2, len(panels))
  tall = -(-len(panels) // columns)
  height = max(3.6 * tall, 0.5 + 0.19 * len(names))
  figure = Figure(figsize=(4.6 * columns + 2.4, height), layout="constrained")
  places = figure.subplots(tall, columns, squeeze=False).ravel()
  for (tasks, points), axes in zip(panels.items(), places, strict=False):
    axis = {"x": "ms for one task", "y": tasks.metric_title}
    scatter(axes, points, best_trades(points), names=names, **axis)
    axes.set_title(str(tasks), fontsize=10)
  for axes in places[len(panels) :]:
    axes.set_visible(False)
  known = {line.get_label(): line for axes in places for line in axes.lines}
  handles = [known[name] for name in names]
  figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
  files.write_bytes(path, as_bytes(figure, format_, dpi=200, facecolor="white"))


def trades(tasks: TaskList, rows: dict[str, Row], timings: list[Line]) -> Trades:
  """Method → (ms, figure), the mean over seeds; of tasks of this form, on one device."""
  found: Trades = {}
  for line in timings:
    form = all(line.get(name) == getattr(tasks, name) for name in ("ways", "shots"))
    name, value = str(line.get("method")), None
    if form and line.get("batch") == 1 and line.get("protocol") == "latency-head":
      value = rows[name].mean("value") if name in rows else None
    if value is not None:
      found[name] = (line["latency_ms"], value)
  return found


def best_trades(points: Trades) -> list[str]:
  """Methods that no other is both faster and better than, from fast to slow."""
  found: list[str] = []
  for name in sorted(points, key=lambda n: points[n][0]):
    if not found or points[name][1] > points[found[-1]][1]:
      found.append(name)
  return found
