"""The results as Markdown tables."""

from typing import Any

import numpy as np

from mcdi_jax.evaluation.table import task_form
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.report.figures import Row, group, mean_difference
from mcdi_jax.report.latency import latency_tables
from mcdi_jax.report.workdir import Line, read_results

_BEGIN = "<!-- results: python -m launch.table FILE --into PAGE.md -->"
_END = "<!-- end of results -->"


def results_tables(lines: list[Line]) -> str:
  """For each protocol, methods by forms of task: the metric, mean over seeds ± the
  95 % interval over tasks [± that over classes] and the sd over seeds; below it the paired
  difference of each generator from prototypes, mean over seeds with the same intervals.
  Then, for each form of task, what every method takes in time."""
  groups = group([line for line in lines if line.get("value") is not None])
  parts = []
  for protocol in dict.fromkeys(tasks.protocol for tasks in groups):
    own = {tasks: rows for tasks, rows in groups.items() if tasks.protocol == protocol}
    here = {task_form(tasks._asdict()): rows for tasks, rows in own.items()}
    title = next(iter(own)).metric_title
    parts.append(_table(f"{protocol}, {title}", here, _figure))
    parts.append(_table(f"{protocol}, this − prototypes", here, _minus_prototypes))
  parts += latency_tables([x for x in lines if x.get("latency_ms") is not None])
  return "\n\n".join(filter(None, parts))


def against_tables(lines: list[Line], methods: list[str], rivals: list[str]) -> str:
  """Over many test sets, of few methods: what each reaches, then what it is above each
  rival, paired; a row for each set and method, a column for each number of shots. Last,
  what these take in time.

  Raises:
    InputError: no line knows such a difference.
  """
  groups = group([line for line in lines if line.get("value") is not None])
  shots = sorted({tasks.shots for tasks in groups}, key=lambda n: n or 0)
  sets = dict.fromkeys((tasks.protocol, tasks.ways) for tasks in groups)
  found = {(t.protocol, t.ways, t.shots): rows for t, rows in groups.items()}
  title = next((tasks.metric_title for tasks in groups), "")

  def rows(names: list[str], cell: Any) -> Any:
    for name, ways in sets:
      for method in names:
        here = [found.get((name, ways, k), {}).get(method) for k in shots]
        cells = ["–" if row is None else cell(row) for row in here]
        if set(cells) != {"–"}:
          tasks = f"{name}, {ways} ways" if ways else name
          yield f"| {tasks} | `{method}` | {' | '.join(cells)} |"

  shown = list(dict.fromkeys([*methods, *rivals]))
  parts = [_by_set(title, shots, list(rows(shown, _figure)))]
  for rival in rivals:
    own = list(rows(methods, lambda row, rival=rival: _minus(row, rival)))
    if not own:
      raise InputError(f"no line of {methods} has a difference from {rival}: name another")
    parts.append(_by_set(f"this − `{rival}`, {title}", shots, own))
  named = {*methods, *rivals}
  timed = [x for x in lines if x.get("latency_ms") is not None and x["method"] in named]
  return "\n\n".join([*parts, *latency_tables(timed)])


def _by_set(title: str, shots: list[int | None], rows: list[str]) -> str:
  """shots: None of tasks without classes, which need no name."""
  named = {None: "", 1: "1 shot"}
  columns = " | ".join(named.get(n, f"{n} shots") for n in shots)
  head = f"| {title} | | {columns} |\n|---|---|{'---|' * len(shots)}"
  return "\n".join([head, *rows])


def write_tables(results: PathLike, page: PathLike, tables: str | None = None) -> None:
  """Puts the tables of a `results.jsonl` between the marks of a Markdown page.

  Args:
    tables: others than `results_tables` makes.

  Raises:
    MissingError: one of the files is not there.
    InputError: the page has no marks.
  """
  page, results = files.as_path(page), files.as_path(results)
  for path in (page, results):
    if not path.exists():
      raise MissingError(f"there is no {path}")
  try:
    text = page.read_bytes().decode()
  except UnicodeDecodeError:
    raise InputError(f"{page} is no page of text in UTF-8: name a Markdown page") from None
  before, begin, rest = text.partition(_BEGIN)
  _, end, after = rest.partition(_END)
  if not (begin and end):
    raise InputError(f"{page} has no place for results: put {_BEGIN} and {_END} into it")
  tables = tables or results_tables(read_results(results))
  files.write_bytes(page, f"{before}{_BEGIN}\n\n{tables}\n\n{_END}{after}".encode())


def _table(title: str, forms: dict[str, dict[str, Row]], cell: Any) -> str:
  """Markdown; empty if no cell says anything."""
  methods = list(dict.fromkeys(name for rows in forms.values() for name in rows))
  lines = []
  for method in methods:
    cells = [cell(rows[method]) if method in rows else "–" for rows in forms.values()]
    if set(cells) != {"–"}:
      lines.append(f"| `{method}` | {' | '.join(cells)} |")
  if not lines:
    return ""
  head = f"| {title} | {' | '.join(forms)} |\n|---|{'---|' * len(forms)}"
  return "\n".join([head, *lines])


def _figure(row: Row) -> str:
  parts = [row.figure]
  parts += [] if row.spread is None else [f"sd {row.spread:.2f}"]
  return "; ".join([*parts, *([row.note] if row.note else [])])


def _minus_prototypes(row: Row) -> str:
  return _minus(row, "prototypes")


def _minus(row: Row, rival: str) -> str:
  found = list(row.minus(rival).values())
  if not found:
    return "–"
  sd = np.std([d.value for d in found], ddof=1) if len(found) > 1 else None
  return str(mean_difference(found)) + ("" if sd is None else f"; sd {sd:.2f}")
