"""The table on the terminal."""

from typing import Any

from rich.table import Table

from mcdi_jax.lib.progress import CONSOLE


def print_table(lines: list[dict[str, Any]]) -> None:
  """Accuracies by form of task and protocol, and latencies below them."""
  accuracies = [r for r in lines if r["accuracy"] is not None]
  table = Table(title="Accuracy on unseen classes, % ± 95 % interval over tasks")
  for name in ("task", "protocol", "method", "seed", "accuracy", "this − generated"):
    table.add_column(name, justify="right" if "acc" in name or "−" in name else "left")
  before = None
  for row in accuracies:
    place = (f"{row['ways']}-way {row['shots']}-shot", row["protocol"])
    if before not in (None, place):
      table.add_section()
    before = place
    diff = row["paired_diff"]
    paired = "" if diff is None else f"{diff:+.2f} ± {row['paired_ci95']:.2f}"
    accuracy = f"{row['accuracy']:.2f} ± {row['ci95']:.2f}"
    table.add_row(*place, row["method"], str(row["seed"]), accuracy, paired)
  CONSOLE.print(table)
  latencies = [r for r in lines if r["latency_ms"] is not None]
  if not latencies:
    return
  table = Table(title=f"Time to generate, on {latencies[0]['device']}")
  for name in ("task", "from", "tasks at once", "median ms", "share of matmul peak"):
    table.add_column(name, justify="right" if name != "from" else "left")
  for row in latencies:
    share = row["settings"].get("share_of_matmul_peak")
    table.add_row(
      f"{row['ways']}-way {row['shots']}-shot",
      {"latency-head": "features", "latency-backbone": "images"}[row["protocol"]],
      str(row["batch"]),
      f"{row['latency_ms']:.2f}",
      "" if share is None else f"{100 * share:.0f} %",
    )
  CONSOLE.print(table)
