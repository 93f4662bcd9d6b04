"""Figures: over seeds, against `generated`, in a table and in words.

The interval of a mean over seeds is the mean of the seeds' intervals. All seeds meet the
same test tasks, so this is never narrower than the interval of the averaged outcomes.
"""

import dataclasses
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.evaluation.table import UNITS, metric_title, task_form
from mcdi_jax.report.markup import Html, join, table, tag
from mcdi_jax.report.workdir import Line


class TaskList(NamedTuple):
  """What determines a list of test tasks, as far as a result line tells, and the metric."""

  family: Any
  metric: Any
  data: Any
  protocol: Any
  ways: Any
  shots: Any
  queries: Any
  tasks: Any
  eval_seed: Any

  def __str__(self) -> str:
    return f"{task_form(self._asdict())} on {self.protocol}"

  @property
  def metric_title(self) -> str:
    return metric_title(self._asdict())

  @property
  def caption(self) -> str:
    tasks = f"{self.tasks:,}" if isinstance(self.tasks, int) else "an unknown number of"
    queries = "" if self.queries is None else f" of {self.queries} queries a class"
    return f"{self}: {tasks} tasks{queries}, seed {self.eval_seed}"


class Difference(NamedTuple):
  """From another method, in the metric's unit: its value, the intervals over tasks and over
  classes (None: not known)."""

  value: float
  ci95: float
  ci95_cluster: float | None = None

  def __str__(self) -> str:
    return with_interval(self.value, self.ci95, "+", self.ci95_cluster)

  @property
  def standing(self) -> str:
    """A claim about unseen classes: by the interval over classes where it is known."""
    known = self.ci95_cluster is not None
    return standing(self.value, self.ci95_cluster if known else self.ci95)

  def reversed(self) -> "Difference":
    return self._replace(value=-self.value)


def mean_difference(found: list[Difference]) -> Difference:
  """Over seeds: the means of the values and of the intervals."""
  clusters = [d.ci95_cluster for d in found]
  cluster = None if None in clusters else float(np.mean(clusters))
  value, ci95 = (float(np.mean([d[i] for d in found])) for i in (0, 1))
  return Difference(value, ci95, cluster)


@dataclasses.dataclass(frozen=True)
class Row:
  """One method on one list of test tasks: a line for each seed."""

  method: str
  lines: list[Line]

  def mean(self, key: str) -> float | None:
    """Over the seeds; None if a seed has no such value."""
    values = [line.get(key) for line in self.lines]
    return None if None in values else float(np.mean(values))

  @property
  def spread(self) -> float | None:
    """sd of the figure over seeds, where there are several."""
    values = [line["value"] for line in self.lines]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None

  @property
  def figure(self) -> str:
    """The mean over seeds with its intervals."""
    value, ci95 = self.mean("value"), self.mean("ci95")
    return with_interval(value, ci95, cluster=self.mean("ci95_cluster"))

  @property
  def note(self) -> str:
    """What the reader must know of the method's settings; mostly nothing."""
    unchanged = sum("unchanged_start" in (x.get("settings") or {}) for x in self.lines)
    if not unchanged:
      return ""
    seeds = len(self.lines)
    return "its start, unchanged" + (
      f", in {unchanged} of {seeds} seeds" if seeds > 1 else ""
    )

  @property
  def trials(self) -> str:
    """How many settings were tried, and which of the chosen lie at an edge."""
    numbers = dict.fromkeys(x.get("trials") for x in self.lines)
    edges = [n for x in self.lines for n in (x.get("settings") or {}).get("at_edge", ())]
    said = ", ".join("–" if n is None else str(n) for n in numbers)
    return said + (f" (at an edge: {', '.join(dict.fromkeys(edges))})" if edges else "")

  @property
  def paired(self) -> dict[Any, Difference]:
    """Seed → difference from `generated`, where a line knows it and its interval."""
    keys = ("paired_diff", "paired_ci95", "paired_ci95_cluster")
    return {
      line.get("seed"): Difference(*(line.get(key) for key in keys))
      for line in self.lines
      if line.get("paired_against") == "generated"
      and all(line.get(key) is not None for key in keys[:2])
    }

  @property
  def minus_prototypes(self) -> dict[Any, Difference]:
    return self.minus("prototypes")

  def minus(self, rival: str) -> dict[Any, Difference]:
    """Seed → difference from a rival, where a line knows it."""
    found = {}
    for line in self.lines:
      pair = (line.get("settings") or {}).get(f"minus_{rival}")
      if pair is not None:
        found[line.get("seed")] = Difference(*pair)
    return found


def group(lines: list[Line]) -> dict[TaskList, dict[str, Row]]:
  """Lines of the metric by test tasks and method; of a seed's the later one stands."""
  found: dict[TaskList, dict[str, dict[Any, Line]]] = {}
  for line in lines:
    tasks = TaskList(*(line.get(name) for name in TaskList._fields))
    seeds = found.setdefault(tasks, {}).setdefault(str(line.get("method")), {})
    seeds[line.get("seed")] = line
  return {
    tasks: {name: Row(name, list(seeds.values())) for name, seeds in methods.items()}
    for tasks, methods in found.items()
  }


def with_interval(
  value: float | None,
  interval: float | None,
  sign: str = "",
  cluster: float | None = None,
) -> str:
  """`98.63 ± 0.06`, or `98.63 ± 0.06 [± 0.19]`: two decimals, more where the interval is
  smaller than them.

  Args:
    sign: `+` for a difference.
    cluster: the interval over classes.
  """
  if value is None:
    return "–"
  small = interval is not None and 0 < interval < 0.01
  decimals = min(2 + int(np.ceil(-2 - np.log10(interval))), 5) if small else 2
  text = f"{value:{sign}.{decimals}f}".replace("-", "−")
  if not float(f"{value:.{decimals}f}"):
    text = text.lstrip("+−")
  text = text if interval is None else f"{text} ± {interval:.{decimals}f}"
  return text if cluster is None else f"{text} [± {cluster:.{decimals}f}]"


def standing(difference: float, interval: float) -> str:
  """`above` or `below` only where the interval of the difference excludes 0."""
  if abs(difference) <= interval:
    return "level with"
  return "above" if difference > 0 else "below"


def metric_table(tasks: TaskList, rows: dict[str, Row]) -> Html:
  several = any(len(row.lines) > 1 for row in rows.values())
  head = ["method", tasks.metric_title, *(["sd over seeds"] if several else [])]
  against_prototypes = any(row.minus_prototypes for row in rows.values())
  head += ["this − generated", *(["this − prototypes"] if against_prototypes else [])]
  head += ["trials", "transductive", "parameters", "training, s"]
  cells = []
  for row in rows.values():
    name = tag("code", row.method)
    line = [join([name, f" ({row.note})"]) if row.note else name, row.figure]
    if several:
      line.append("–" if row.spread is None else f"{row.spread:.2f}")
    parameters, seconds = row.mean("parameters"), row.mean("budget_s")
    line.append(_differences(row.paired, len(row.lines)))
    if against_prototypes:
      line.append(_differences(row.minus_prototypes, len(row.lines)))
    line += [
      row.trials,
      {True: "yes", False: "no"}.get(row.lines[0].get("transductive"), "–"),
      "–" if parameters is None else f"{parameters:,.0f}",
      "–" if seconds is None else f"{seconds:,.1f}",
    ]
    cells.append(line)
  return table(tasks.caption, head, cells)


def _differences(by_seed: dict[Any, Difference], seeds: int) -> Html:
  """Each seed's difference from another method, and where that puts this one."""
  found = []
  for number, difference in by_seed.items():
    seed = f"seed {number}: " if seeds > 1 else ""
    found.append(f"{seed}{difference} ({difference.standing.removesuffix(' with')})")
  return join(found or ["–"], "<br>")


def sentences(groups: dict[TaskList, dict[str, Row]]) -> list[Html]:
  """The result in words: where `generated` stands among the others."""
  known = {tasks: rows for tasks, rows in groups.items() if "generated" in rows}
  if len(known) > 2:
    return _tally(known)
  return [_sentence(tasks, rows) for tasks, rows in known.items()]


def _sentence(tasks: TaskList, rows: dict[str, Row]) -> Html:
  generated = rows["generated"]
  seeds = len(generated.lines)
  unit = UNITS.get(str(tasks.metric), "")
  said = [tag("code", "generated"), f" {generated.figure} {unit} in {tasks}"]
  sd = f", sd {generated.spread:.2f}" if seeds > 1 else ""
  said.append(f" (mean of {seeds} seeds{sd})" if seeds > 1 else "")
  found = [_against(row) for row in rows.values() if row.paired]
  return join([*said, ": " if found else "", join(found, "; "), "."])


def _standings(row: Row) -> Counter[str]:
  """How often `generated` is above, level with or below this method, by seeds."""
  return Counter(found.reversed().standing for found in row.paired.values())


def _against(row: Row) -> Html:
  """`level with prototypes (difference +0.01 ± 0.02)`; generated − this."""
  number = mean_difference(list(row.paired.values())).reversed()
  (most, often), *others = _standings(row).most_common()
  words = [most, " ", tag("code", row.method)]
  if others:
    words.append(f" in {often} of {len(row.paired)} seeds")
    words += [f", {word.removesuffix(' with')} in {n}" for word, n in others]
  mean = "mean difference" if len(row.paired) > 1 else "difference"
  return join([*words, f" ({mean} {number})"])


def _tally(groups: dict[TaskList, dict[str, Row]]) -> list[Html]:
  """One sentence a rival, over many lists of test tasks."""
  found: dict[str, Counter[str]] = {}
  for rows in groups.values():
    for name, row in rows.items():
      found.setdefault(name, Counter()).update(_standings(row))
  said = []
  for name, counts in found.items():
    if total := sum(counts.values()):
      parts = [f"{word} it in {counts[word]}" for word in ("above", "level with", "below")]
      start = [tag("code", "generated"), " against ", tag("code", name)]
      said.append(
        join([*start, f", in {total} lists of test tasks and seeds: {', '.join(parts)}."])
      )
  return said
