"""The table on the terminal."""

from typing import Any

from rich.table import Table

from mcdi_jax.lib.progress import CONSOLE


def print_table(lines: list[dict[str, Any]]) -> None:
  """Accuracies by form of task and protocol, and latencies below them."""
  accuracies = [line for line in lines if line["accuracy"] is not None]
  latencies = [line for line in lines if line["latency_ms"] is not None]
  if accuracies:
    CONSOLE.print(_accuracy_table(accuracies))
  if latencies:
    CONSOLE.print(_latency_table(latencies))


def _accuracy_table(lines: list[dict[str, Any]]) -> Table:
  title = "Accuracy on unseen classes, % ± 95 % interval over tasks"
  table = Table("task", "protocol", "method", "seed", title=title)
  table.add_column("accuracy", justify="right")
  table.add_column("this − generated", justify="right")
  before = None
  for line in lines:
    place = (_form(line), line["protocol"])
    if before not in (None, place):
      table.add_section()
    before = place
    diff = line["paired_diff"]
    paired = "" if diff is None else f"{diff:+.2f} ± {line['paired_ci95']:.2f}"
    accuracy = f"{line['accuracy']:.2f} ± {line['ci95']:.2f}"
    table.add_row(*place, line["method"], str(line["seed"]), accuracy, paired)
  return table


def _latency_table(lines: list[dict[str, Any]]) -> Table:
  table = Table("task", "from", title=f"Time to generate, on {lines[0]['device']}")
  for name in ("tasks at once", "median ms", "share of matmul peak"):
    table.add_column(name, justify="right")
  source = {"latency-head": "features", "latency-backbone": "images"}
  for line in lines:
    share = line["settings"].get("share_of_matmul_peak")
    table.add_row(
      _form(line),
      source[line["protocol"]],
      str(line["batch"]),
      f"{line['latency_ms']:.2f}",
      "" if share is None else f"{100 * share:.0f} %",
    )
  return table


def _form(line: dict[str, Any]) -> str:
  return f"{line['ways']}-way {line['shots']}-shot"
