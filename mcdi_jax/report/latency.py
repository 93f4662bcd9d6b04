"""How long every method takes: in a section of the page, and as Markdown."""

from mcdi_jax.evaluation.table import SOURCES, task_form
from mcdi_jax.report.markup import Html, note, section, table, tag
from mcdi_jax.report.workdir import Line

_READING = (
  "The median over calls, each until its result is there; compilation is apart. From "
  "features: what turns the features of the supports into a classifier, compiled, without "
  "checks. From images: the same with the backbone before it; and mcdi_jax.generate as it "
  "is called, with its checks."
)


def latency_section(lines: list[Line]) -> Html | None:
  if not lines:
    return None
  shares = [(line.get("settings") or {}).get("share_of_matmul_peak") for line in lines]
  peak = any(share is not None for share in shares)
  rows = []
  for line, share in zip(lines, shares, strict=True):
    row = [task_form(line), tag("code", line.get("method")), source(line)]
    row += [line.get("device") or "–", line.get("seed"), line.get("batch")]
    row.append(f"{line['latency_ms']:.2f}")
    if peak:
      row.append("–" if share is None else f"{100 * share:.0f} %")
    rows.append(row)
  head = ["task", "method", "from", "device", "seed", "tasks at once", "median ms"]
  head += ["of matmul peak"] if peak else []
  content = table("Time to adapt to all tasks at once", head, rows, words=4)
  return section("Latency", note(_READING), content)


def latency_tables(lines: list[Line]) -> list[str]:
  """Markdown, for each form of task and device: methods by what was timed, in ms."""
  forms: dict[str, dict[str, dict[str, float]]] = {}
  for line in lines:
    tasks = "1 task" if line.get("batch") == 1 else f"{line.get('batch')} tasks"
    where = f"{task_form(line)} on {line.get('device')}"
    cells = forms.setdefault(where, {}).setdefault(str(line.get("method")), {})
    cells[f"{source(line)}, {tasks}"] = line["latency_ms"]
  found = []
  for name, methods in forms.items():
    columns = list(dict.fromkeys(c for cells in methods.values() for c in cells))
    rows = [f"| {name}, median ms from | {' | '.join(columns)} |"]
    rows.append("|---|" + "---|" * len(columns))
    for method, cells in methods.items():
      numbers = [f"{cells[c]:.3g}" if c in cells else "–" for c in columns]
      rows.append(f"| `{method}` | {' | '.join(numbers)} |")
    found.append("\n".join(rows))
  return found


def source(line: Line) -> str:
  protocol = str(line.get("protocol"))
  return SOURCES.get(protocol, protocol)
