"""`write_comparison(workdirs, path)`: several runs on one page.

Figures stand in one table only where the runs met the same test tasks.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.outputs import checked
from mcdi_jax.report import figures
from mcdi_jax.report.curves import VALIDATION, measures, seeds_of
from mcdi_jax.report.figure import Series, line_figure
from mcdi_jax.report.figures import Difference, Row, TaskList
from mcdi_jax.report.markup import (
  BEGIN,
  Html,
  bullets,
  join,
  note,
  page,
  paragraph,
  section,
  table,
  tag,
)
from mcdi_jax.report.page import foot
from mcdi_jax.report.workdir import Run, curve, flat, read_run

# Test tasks are the same where these are: a result line's own facts, and how the data was
# read and split into classes.
_Tasks = tuple[TaskList, str]


def write_comparison(workdirs: Sequence[PathLike], path: PathLike) -> Path:
  """Writes one page on several runs; returns its path.

  Raises:
    InputError: fewer than two workdirs, or one of them twice; or the path is of a file
      that is no page.
    MissingError: no run has begun in one of them.
  """
  places = {str(files.as_path(workdir)) for workdir in workdirs}
  if len(workdirs) < 2 or len(places) < len(workdirs):
    raise InputError(
      f"workdirs are {', '.join(map(str, workdirs))}: a comparison needs two different ones"
    )
  is_page = lambda content: content.startswith(BEGIN.encode())  # noqa: E731
  path = checked(path, "--out", ours=is_page)
  runs = [read_run(workdir) for workdir in workdirs]
  files.write_bytes(path, comparison(runs).encode())
  return path


def comparison(runs: list[Run]) -> str:
  names = _names(runs)
  title = f"Comparison of {len(runs)} runs: {', '.join(names)}"
  gaps = [
    f"{name}: {gap}"
    for name, run in zip(names, runs, strict=True)
    for gap in run.gaps
    if "pictures" not in gap  # no picture of a single run is shown here
  ]
  return page(
    title,
    tag("h1", title),
    tag("div", bullets(gaps), class_="warning note") if gaps else None,
    _figures_section(names, runs),
    _settings_section(names, runs),
    _curves_section(names, runs),
    foot(runs),
  )


def _names(runs: list[Run]) -> list[str]:
  """The last part of each workdir's name, or the whole where that is not enough."""
  short = [run.name.rstrip("/").rsplit("/", 1)[-1] for run in runs]
  return short if len(set(short)) == len(short) else [run.name for run in runs]


def _figures_section(names: list[str], runs: list[Run]) -> Html:
  found: dict[_Tasks, dict[str, dict[str, Row]]] = {}
  for name, run in zip(names, runs, strict=True):
    data = run.content or json.dumps(run.config.get("data"), sort_keys=True)
    for tasks, rows in figures.group(run.figures).items():
      found.setdefault((tasks, data), {})[name] = rows
  if not found:
    return section("Results", paragraph("None of these runs has results yet."))
  reading = (
    "The metric, ± the 95 % interval over test tasks [± that over classes, which claims "
    "about unseen classes go by]; over several seeds the mean. The last column is the "
    "difference of the generated weights from those of the table's first run; its "
    "intervals take the two as independent, which on the same tasks is wider than needed."
  )
  tables = [_table(key, rows, found) for key, rows in found.items()]
  return section("Results", *_refusals(runs, found), note(reading), *tables)


def _refusals(runs: list[Run], found: dict[_Tasks, Any]) -> list[Html]:
  """Says which settings made test tasks differ."""
  tested = sum(bool(run.figures) for run in runs)
  if all(len(rows) == tested for rows in found.values()):
    return []
  flats = [flat(run.config) for run in runs]
  differ = [
    name
    for name in sorted({name for one in flats for name in one})
    if name.startswith("config.data.")
    or name in ("config.evaluation.eval_seed", "config.evaluation.tasks")
    or name in ("config.evaluation.queries", "config.meta.ways", "config.meta.shots")
    if len({json.dumps(one.get(name)) for one in flats}) > 1
  ]
  named = f" ({', '.join(differ)} differ)" if differ else ""
  return [
    tag(
      "p",
      f"Not all of these runs were tested on the same tasks{named}. Their figures stand in "
      "tables of their own, and no difference between such tables is taken: it would mix "
      "the methods with the tasks.",
      class_="warning",
    )
  ]


def _table(key: _Tasks, rows: dict[str, dict[str, Row]], found: dict[_Tasks, Any]) -> Html:
  tasks, _ = key
  methods = list(dict.fromkeys(name for one in rows.values() for name in one))
  first = next(iter(rows.values())).get("generated")
  cells = []
  for run, methods_of_run in rows.items():
    line: list[Any] = [run]
    for name in methods:
      row = methods_of_run.get(name)
      line.append(_cell(row) if row else "–")
    line.append(_difference(methods_of_run.get("generated"), first))
    cells.append(line)
  # The same description may stand for other data: then the table says whose it is.
  twice = sum(tasks == other for other, _ in found) > 1
  caption = f"{tasks.caption}{' (' + ', '.join(rows) + ')' if twice else ''}"
  return table(caption, ["run", *methods, "generated − first run"], cells)


def _cell(row: Row) -> Html:
  lines = [row.figure, *([row.note] if row.note else [])]
  if row.spread is not None:
    lines.append(f"sd {row.spread:.2f}, {len(row.lines)} seeds")
  return join(lines, "<br>")


def _difference(row: Row | None, first: Row | None) -> str:
  """Of two runs on the same test tasks; their outcomes task by task are not at hand."""
  if row is None or first is None or row is first:
    return "–"
  values = [row.mean("value"), first.mean("value")]
  if None in (*values, row.mean("ci95"), first.mean("ci95")):
    return "–"
  both = lambda key: (row.mean(key), first.mean(key))  # noqa: E731
  clusters = both("ci95_cluster")
  cluster = None if None in clusters else float(np.hypot(*clusters))
  found = Difference(values[0] - values[1], float(np.hypot(*both("ci95"))), cluster)
  return f"{found} ({found.standing.removesuffix(' with')})"


def _settings_section(names: list[str], runs: list[Run]) -> Html:
  flats = [flat(run.config) for run in runs]
  rows = []
  for name in sorted({name for one in flats for name in one}):
    values = [json.dumps(one[name]) if name in one else "(not there)" for one in flats]
    if len(set(values)) > 1:
      rows.append([tag("code", name), *values])
  if not rows:
    return section("Settings", paragraph("All settings are the same."))
  caption = "Settings that are not the same in all runs"
  content = table(caption, ["setting", *names], rows, words=len(names) + 1)
  return section("Settings", content)


def _curves_section(names: list[str], runs: list[Run]) -> Html | None:
  """The metric of the validation tasks over the steps, a figure for each form of task."""
  lines: dict[str, Series] = {}
  for name, run in zip(names, runs, strict=True):
    phases = dict.fromkeys(str(x["phase"]) for x in run.metrics if x.get("phase"))
    for phase in phases:
      label = name if phase == "generated" else f"{name}, {phase}"
      for measure in measures(run.metrics, phase, VALIDATION):
        for seed in seeds_of(run.metrics, phase):
          points = curve(run.metrics, measure, phase, seed)
          lines.setdefault(measure.removeprefix("val_"), []).append((label, points))
  title, figures = runs[0].metric_title, []
  for name, series in lines.items():
    caption = f"On the validation tasks, {name}: {title}; a line for each seed."
    figures.append(line_figure(f"val-{name}", caption, caption, series, y=title))
  shown = [figure for figure in figures if figure]
  if not shown:
    return None
  reading = "Validation tasks of different data are different tasks too."
  return section("Validation", note(reading), tag("div", *shown, class_="figures"))
