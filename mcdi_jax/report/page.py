"""`write_report(workdir)`: the page of one run."""

import json
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.report import figures
from mcdi_jax.report.chain import (
  ERROR_ARRAYS,
  PLANE_ARRAYS,
  Arrays,
  error_section,
  plane_section,
)
from mcdi_jax.report.curves import training_section
from mcdi_jax.report.fields import is_field, reconstructions_section
from mcdi_jax.report.latency import latency_section
from mcdi_jax.report.markup import (
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
from mcdi_jax.report.steps import steps_section
from mcdi_jax.report.tasks import TASK_ARRAYS, tasks_section
from mcdi_jax.report.trade import trade_section
from mcdi_jax.report.workdir import Line, Run, flat, read_run

Groups = dict[figures.TaskList, dict[str, figures.Row]]
_PLACED = {*ERROR_ARRAYS, *PLANE_ARRAYS} - {"plane_loss", "plane_quality"}
_LARGEST = 1e6  # where targets have rms 1
_PICTURES: tuple[tuple[str, tuple[str, ...], Callable[[Arrays], Html]], ...] = (
  ("the error along the denoising chain", ERROR_ARRAYS, error_section),
  ("the inference chains over the loss", PLANE_ARRAYS, plane_section),
  ("the test tasks", TASK_ARRAYS, tasks_section),
)


def write_report(workdir: PathLike) -> Path:
  """Writes WORKDIR/report.html from what the run has written so far; returns its path.

  Raises:
    MissingError: no run has begun in `workdir`.
    DamagedError: its config.json cannot be read.
  """
  path = files.as_path(workdir) / "report.html"
  files.write_bytes(path, report(read_run(workdir)).encode())
  return path


def report(run: Run) -> str:
  """The page; sections that nothing is known for are left out, with a sentence."""
  title = f"{run.data}: {forms_in_words(run.forms)}"
  pictures, left_out = _picture_sections(run.pictures)
  groups = figures.group(run.figures)
  gaps = run.gaps + left_out
  return page(
    title,
    tag("h1", title),
    *_summary(groups),
    tag("div", bullets(gaps), class_="warning note") if gaps else None,
    _figures_section(groups),
    steps_section(groups),
    trade_section(groups, run.latencies),
    latency_section(run.latencies),
    training_section(run),
    *pictures,
    settings_section(run.config),
    _repeat_section(run),
    foot([run]),
  )


def forms_in_words(forms: list[str]) -> str:
  if len(forms) < 5:
    return ", ".join(forms) or "form of task not named"
  return f"{len(forms)} forms of task from {forms[0]} to {forms[-1]}"


def _summary(groups: Groups) -> list[Html]:
  said = figures.sentences(groups)
  if not said:
    return [paragraph("This run has no figure of its generated weights yet.")]
  return [paragraph(sentence) for sentence in said]


def _figures_section(groups: Groups) -> Html | None:
  if not groups:
    return None
  title = next(iter(groups)).metric_title
  tables = [figures.metric_table(tasks, rows) for tasks, rows in groups.items()]
  reading = (
    f"{title[0].upper()}{title[1:]} on classes that no training saw, ± the 95 % interval "
    "over test tasks "
    "[± that over classes]. The first says how well the figure is known for these classes, "
    "the second for unseen classes of their kind: “above” and “below” are said only where "
    "the interval over classes of the difference excludes 0. Differences are taken task by "
    "task. Over several seeds: the mean, with the mean of their intervals; the spread over "
    "seeds stands apart. Trials: settings tried on the same validation tasks."
  )
  return section("Results", note(reading), *tables)


def _picture_sections(arrays: Arrays) -> tuple[list[Html], list[str]]:
  """The sections that the arrays suffice for, and a sentence for each other one."""
  found, gaps = [], []
  fields = any(map(is_field, arrays))
  for subject, names, draw in _PICTURES:
    if fields and names == TASK_ARRAYS:
      continue
    missing = [name for name in names if name not in arrays]
    there = [name for name in names if name in arrays]
    wild = [name for name in there if name in _PLACED and _wild(arrays[name])]
    if arrays and missing:
      gaps.append(f"pictures.safetensors lacks {', '.join(missing)}: {subject} left out.")
    elif wild:
      gaps.append(f"{', '.join(wild)} is not of a size to be drawn: {subject} left out.")
    elif not missing:
      found.append(draw(arrays))
  if fields:
    found.append(reconstructions_section(arrays))
  return found, gaps


def _wild(array: np.ndarray) -> bool:
  """Of a training that went astray: no axis has room for it."""
  return not np.all(np.abs(array) < _LARGEST)


def settings_section(config: dict[str, Any]) -> Html:
  rows = [[tag("code", name), json.dumps(value)] for name, value in flat(config).items()]
  content = table(
    "All settings, by the names of their flags", ["setting", "value"], rows, 2
  )
  block = tag(
    "details", tag("summary", f"{len(rows)} settings"), content, class_="settings"
  )
  return section("Settings", block)


def _repeat_section(run: Run) -> Html:
  """The commands that make the run again."""
  lines = []
  commits = _distinct(run.results, "commit")
  if len(commits) == 1:
    lines.append(shlex.join(["git", "checkout", commits[0].rstrip("+")]))
  versions = _distinct(run.results, "versions")
  if len(versions) == 1:
    named = [f"{name}=={v}" for name, v in versions[0].items() if name != "python"]
    lines.append(shlex.join(["pip", "install", *named]))
  place = run.name.rstrip("/")
  settings = ["--config", f"{place}/config.json", "--workdir", f"{place}-again"]
  lines.append(shlex.join(["python", "-m", "launch.run", *settings]))
  seeds = run.config.get("seeds")
  test = (run.config.get("evaluation") or {}).get("eval_seed")
  caches = [n for n in ("backbone_dir", "bank_dir") if run.config.get(n)]
  return section(
    "How to repeat it",
    tag("pre", tag("code", "\n".join(lines))),
    note(f"Seeds of the training: {json.dumps(seeds)}; of the test tasks: {test}."),
    note("The + behind the commit: files differed from it; the difference is not known.")
    if any(commit.endswith("+") for commit in commits)
    else None,
    note(
      f"What lies in config.{' and config.'.join(caches)} is used again, not made again."
    )
    if caches
    else None,
  )


def _distinct(lines: list[Line], name: str) -> list[Any]:
  """The values that lines have, each once, nulls left out."""
  found: list[Any] = []
  for line in lines:
    if (value := line.get(name)) and value not in found:
      found.append(value)
  return found


def foot(runs: list[Run]) -> Html:
  """Whence the figures come: commit, versions, machine."""
  lines = [line for run in runs for line in run.results]
  facts = {
    "commit": _distinct(lines, "commit"),
    "versions": [
      " ".join(f"{name} {version}" for name, version in versions.items())
      for versions in _distinct(lines, "versions")
    ],
    "device": _distinct(lines, "device"),
    "backbone": _distinct(lines, "backbone"),
    "matmul precision": _distinct(lines, "matmul_precision"),
    "config, sha256": [text[:12] for text in _distinct(lines, "config")],
  }
  said = [
    f"{name}: {', '.join(map(str, values))}" for name, values in facts.items() if values
  ]
  return tag("footer", tag("hr"), join([tag("p", text) for text in said]))
