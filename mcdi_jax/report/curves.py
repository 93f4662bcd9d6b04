"""Training curves: the backbone's, and each generator's."""

import re

from mcdi_jax.report.figure import Series, line_figure
from mcdi_jax.report.markup import Html, note, section, tag
from mcdi_jax.report.workdir import Line, Run, curve

VALIDATION = r"val_\d+w\d+s"  # measures such as `val_5w1s`


def training_section(run: Run) -> Html | None:
  """Loss and metric over the steps of every training; None if nothing was logged."""
  phases = list(dict.fromkeys(str(x["phase"]) for x in run.metrics if x.get("phase")))
  parts: list[Html] = []
  for number, phase in enumerate(phases):
    draw = _backbone_figures if phase == "backbone" else _generator_figures
    drawn = draw(run, phase, f"curve{number}")
    figures = [figure for figure in drawn if figure]
    if figures:
      parts += [tag("h3", tag("code", phase)), tag("div", *figures, class_="figures")]
  if not parts:
    return None
  reading = note("A training that was continued logs some steps twice; the later stands.")
  return section("Training", reading, *parts)


def seeds_of(lines: list[Line], phase: str) -> list[int | None]:
  """Seeds of a phase's trainings, in the order written."""
  return list(dict.fromkeys(x.get("seed") for x in lines if x.get("phase") == phase))


def measures(lines: list[Line], phase: str, pattern: str) -> list[str]:
  """Names of the measures of a phase that match, by the numbers in them."""
  mine = (line for line in lines if line.get("phase") == phase)
  found = {name for line in mine for name in line if re.fullmatch(pattern, name)}
  return sorted(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])


def _backbone_figures(run: Run, phase: str, name: str) -> list[Html | None]:
  lines = run.metrics
  figures, seeds = [], seeds_of(lines, phase)
  for measure, y in (("loss", "loss"), ("accuracy", "accuracy, %")):
    series = [("", curve(lines, measure, phase, seed)) for seed in seeds]
    caption = f"{measure.capitalize()} of the backbone on what it was trained on"
    caption += f"{_each(seeds)}."
    figures.append(line_figure(f"{name}-{measure}", caption, caption, series, y=y))
  caption = f"Prototypes of validation classes on the backbone{_each(seeds)}."
  looks = validation_series(lines, phase)
  figures.append(line_figure(f"{name}-val", caption, caption, looks, y="accuracy, %"))
  return figures


def _generator_figures(run: Run, phase: str, name: str) -> list[Html | None]:
  lines = run.metrics
  seeds = seeds_of(lines, phase)
  segments = measures(lines, phase, r"loss_\d+")
  series = [
    (f"segment {segment.removeprefix('loss_')}", curve(lines, segment, phase, seed))
    for segment in segments
    for seed in seeds
  ]
  what = "in each segment of the denoising chain"
  if not segments:  # trained by the query loss, through the whole chain
    series = [("", curve(lines, "loss", phase, seed)) for seed in seeds]
    what = "on the queries of its training tasks"
  each = _each(seeds)
  caption = f"Loss of {phase} {what}{each}."
  loss = line_figure(f"{name}-loss", caption, caption, series, y="loss")
  caption = f"{phase} on the validation tasks, {run.metric_title}{each}."
  looks = validation_series(lines, phase)
  found = line_figure(f"{name}-val", caption, caption, looks, y=run.metric_title)
  return [loss, found]


def _each(seeds: list[int | None]) -> str:
  return f", a line for each of {len(seeds)} seeds" if len(seeds) > 1 else ""


def validation_series(lines: list[Line], phase: str) -> Series:
  """On the validation tasks, told apart by form of task, or by seed where there is one
  form."""
  names, seeds = measures(lines, phase, VALIDATION), seeds_of(lines, phase)

  def label(name: str, seed: int | None) -> str:
    if len(names) > 1:
      return name.removeprefix("val_")
    return f"seed {seed}" if len(seeds) > 1 else ""

  return [
    (label(name, seed), curve(lines, name, phase, seed)) for name in names for seed in seeds
  ]
