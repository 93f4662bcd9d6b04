"""What each method reaches, and how long it takes to adapt to one task."""

from mcdi_jax.report.figure import scatter_figure
from mcdi_jax.report.figures import Row, TaskList
from mcdi_jax.report.markup import Html, note, section, tag
from mcdi_jax.report.workdir import Line

_READING = (
  "Further up is better, further left is faster: methods that nothing is above and to the "
  "left of are on the dotted line. The time is the median for one task, from what the "
  "method is given to its weights; methods that were not timed are left out."
)
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
