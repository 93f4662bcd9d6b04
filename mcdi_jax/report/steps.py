"""What gradient steps on the support are worth, from each start."""

from mcdi_jax.report.figure import Points, Series, line_figure
from mcdi_jax.report.figures import Row, TaskList
from mcdi_jax.report.markup import Html, note, section, tag

_READING = (
  "Each number of steps from each start has a rate of its own, chosen on validation tasks. "
  "“adam” is Adam from θ_0, its ε chosen too; the others are plain gradient steps. Level "
  "lines: methods that take no such step."
)
_LEVEL = ("generated", "generated_finished", "prototypes")


def steps_section(groups: dict[TaskList, dict[str, Row]]) -> Html | None:
  """A figure for each list of test tasks; None where nothing took steps."""
  figures = []
  for number, (tasks, rows) in enumerate(groups.items()):
    series = steps_series(rows)
    if not series:
      continue
    places = [n for _, points in series for n, _ in points]
    ends = (min(places), max(places))
    for name in _LEVEL:
      if name in rows and (value := rows[name].mean("value")) is not None:
        series.append((name, [(n, value) for n in ends]))
    caption = f"{tasks}: {tasks.metric_title} after steps on the support."
    name = f"steps{number}"
    figures.append(
      line_figure(name, caption, caption, series, y=tasks.metric_title, logarithmic=True)
    )
  found = [figure for figure in figures if figure]
  if not found:
    return None
  content = tag("div", *found, class_="figures")
  return section("Steps on the support", note(_READING), content)


def steps_series(rows: dict[str, Row]) -> Series:
  """Start → mean over seeds by the number of steps, for starts with several numbers."""
  found: dict[str, Points] = {}
  for row in rows.values():
    settings = row.lines[0].get("settings") or {}
    start, steps = settings.get("start"), settings.get("steps")
    if start is None and row.method == f"descent_{steps}":
      start = "adam"
    value = row.mean("value")
    if isinstance(start, str) and isinstance(steps, int) and value is not None:
      label = "adam" if start == "adam" else f"from {start}"
      found.setdefault(label, []).append((steps, value))
  return [(label, sorted(points)) for label, points in found.items() if len(points) > 1]
