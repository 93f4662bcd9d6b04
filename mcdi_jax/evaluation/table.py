"""The tables on the terminal."""

from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from mcdi_jax.families import Documents, Fields, Heads
from mcdi_jax.lib.progress import CONSOLE

SOURCES = {
  "latency-head": "features",
  "latency-backbone": "images",
  "latency-public": "images, mcdi_jax.generate",
}
METRICS = {family.name: family.metric for family in (Heads, Fields, Documents)}
UNITS = {family.metric.name: family.metric.unit for family in (Heads, Fields)}
Line = dict[str, Any]


def print_table(lines: list[Line]) -> None:
  """A table for each form of task and protocol; latencies below them."""
  found = [line for line in lines if line["value"] is not None]
  latencies = [line for line in lines if line["latency_ms"] is not None]
  for title, group in _grouped(found, lambda x: f"{task_form(x)} on {x['protocol']}"):
    CONSOLE.print(_metric_table(title, group))
  if found:
    CONSOLE.print(
      f"{metric_title(found[0])}, mean over seeds ± 95 % interval over tasks [± over "
      "classes]; the interval over classes is the one for unseen classes"
    )
  if latencies:
    CONSOLE.print(_latency_table(latencies))


def _grouped(lines: list[Line], name: Any) -> list[tuple[str, list[Line]]]:
  groups: dict[str, list[Line]] = {}
  for line in lines:
    groups.setdefault(name(line), []).append(line)
  return list(groups.items())


def _metric_table(title: str, lines: list[Line]) -> Table:
  table = Table(title=Text(title))
  table.add_column("method", no_wrap=True)
  for name in (str(lines[0]["metric"]), "sd over seeds", "this − generated", "trials"):
    table.add_column(name, justify="right")
  for method, group in _grouped(lines, lambda line: line["method"]):
    values = [line["value"] for line in group]
    table.add_row(
      Text(method),
      _cell(group, "value", "ci95", "ci95_cluster"),
      f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else "–",
      _cell(group, "paired_diff", "paired_ci95", "paired_ci95_cluster", "+"),
      _trials(group),
    )
  return table


def _cell(lines: list[Line], value: str, ci95: str, cluster: str, sign: str = "") -> Text:
  mean = lambda key: _mean(lines, key)  # noqa: E731
  if mean(value) is None:
    return Text("")
  text = f"{mean(value):{sign}.2f} ± {mean(ci95):.2f}"
  return Text(text if mean(cluster) is None else f"{text} [± {mean(cluster):.2f}]")


def _mean(lines: list[Line], key: str) -> float | None:
  values = [line[key] for line in lines]
  return None if None in values else float(np.mean(values))


def _trials(lines: list[Line]) -> str:
  trials = "/".join(dict.fromkeys(str(line["trials"]) for line in lines))
  settings = [line["settings"] or {} for line in lines]
  notes = {"at_edge": ", at an edge", "unchanged_start": ", start unchanged"}
  return trials + "".join(n for key, n in notes.items() if any(key in s for s in settings))


def _latency_table(lines: list[Line]) -> Table:
  table = Table("task", title=Text(f"Time to adapt, on {lines[0]['device']}"))
  table.add_column("method", no_wrap=True)
  table.add_column("from")
  peak = any("share_of_matmul_peak" in line["settings"] for line in lines)
  for name in ("tasks at once", "median ms", *(["of matmul peak"] if peak else [])):
    table.add_column(name, justify="right")
  for line in lines:
    share = line["settings"].get("share_of_matmul_peak")
    row = [task_form(line), line["method"], SOURCES[line["protocol"]], str(line["batch"])]
    row.append(f"{line['latency_ms']:.3g}")
    row += [] if not peak else ["" if share is None else f"{100 * share:.0f} %"]
    table.add_row(*map(Text, row))
  return table


def task_form(line: Line) -> str:
  """Such as `5-way 1-shot`; of tasks without classes the family's name."""
  if line.get("ways") is None:
    return str(line.get("family"))
  return f"{line['ways']}-way {line['shots']}-shot"


def metric_title(line: Line) -> str:
  """Such as `accuracy in %`."""
  name = line.get("metric") or "accuracy"
  known = METRICS.get(str(line.get("family")))
  unit = known.unit if known and known.name == name else UNITS.get(name)
  return f"{name} in {unit}" if unit else str(name)
