"""What a run has written, read as far as it can be read."""

import dataclasses
from typing import Any

import numpy as np

from mcdi_jax.evaluation.table import METRICS, metric_title, task_form
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE

Line = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
  """The files of one workdir.

  Attributes:
    name: the workdir as it was named by the caller.
    config: the nested settings.
    content: digest of the data and its split, whatever it was read from; empty if unknown.
    metrics: lines of the trainings, in the order written.
    results: lines of the metric and of latency.
    pictures: arrays by name; empty where there are none.
    gaps: sentences on what could not be read.
  """

  name: str
  config: dict[str, Any]
  content: str
  metrics: list[Line]
  results: list[Line]
  pictures: dict[str, np.ndarray]
  gaps: list[str]

  @property
  def figures(self) -> list[Line]:
    """Lines of the metric."""
    return [line for line in self.results if _is_number(line.get("value"))]

  @property
  def latencies(self) -> list[Line]:
    return [line for line in self.results if _is_number(line.get("latency_ms"))]

  @property
  def data(self) -> str:
    """Name of the data set: of the results, else as far as the settings tell."""
    names = [line["data"] for line in self.results if line.get("data")]
    settings = self.config.get("data") or {}
    path = (
      str(settings.get("path") or "").rstrip("/").rsplit("/", 1)[-1].removesuffix(".npz")
    )
    return names[0] if names else path or str(settings.get("source") or "data not named")

  @property
  def metric_title(self) -> str:
    """Such as `accuracy in %`, of the results or else of the settings."""
    family = str(self.config.get("family") or "heads")
    planned = {"metric": METRICS[family].name if family in METRICS else "quality"}
    return metric_title(next(iter(self.figures), planned))

  @property
  def forms(self) -> list[str]:
    """Forms of task, such as `5-way 1-shot`, of the results or else of the settings."""
    found = [task_form(line) for line in self.figures]
    meta = self.config.get("meta") or {}
    if self.config.get("family", "heads") != "heads":
      return [str(self.config["family"])]
    planned = [
      f"{ways}-way {shots}-shot"
      for ways in meta.get("ways") or []
      for shots in meta.get("shots") or []
    ]
    return list(dict.fromkeys(found or planned))


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _says_something(line: Line) -> bool:
  """A figure or a time, and settings as this package writes them."""
  told = [line.get(name) for name in ("value", "latency_ms")]
  sound = all(x is None or _is_number(x) for x in told) and told != [None, None]
  return sound and isinstance(line.get("settings") or {}, dict)


def read_results(path: PathLike) -> list[Line]:
  """The lines of a `results.jsonl` that tell a figure or a time.

  Raises:
    MissingError, InputError: no such file, or one without any.
  """
  place, gaps = files.as_path(path), list[str]()
  if not place.exists():
    raise MissingError(f"there is no {path}: name the results.jsonl of a run")
  found = [line for line in _lines(place, gaps) if _says_something(line)]
  if not found:
    raise InputError(f"{path} has no results: name the results.jsonl of a finished run")
  for gap in gaps:
    CONSOLE.print(f"note: {gap}")
  return found


def read_run(workdir: PathLike) -> Run:
  """Reads a workdir; whatever is missing or damaged, but the config, leaves a gap.

  Raises:
    MissingError: no run has begun there.
    DamagedError: its config cannot be read.
  """
  path = files.as_path(workdir)
  try:
    config = files.read_json(path / "config.json")
  except MissingError:
    raise MissingError(
      f"there is no run in {workdir}: launch.run writes its config.json first"
    ) from None
  except DamagedError:
    raise DamagedError(
      f"{path / 'config.json'} is damaged, which says what made this run: put the whole "
      "one back"
    ) from None
  for group in ("data", "meta"):
    files.check_keys(path / "config.json", config.get(group, {}))
  gaps: list[str] = []
  return Run(
    str(workdir),
    config,
    _content(path / "data.json"),
    _lines(path / "metrics.jsonl", gaps),
    [x for x in _lines(path / "results.jsonl", gaps) if _says_something(x)],
    _arrays(path / "pictures.safetensors", gaps),
    gaps,
  )


def _content(path: Path) -> str:
  try:
    return str(files.read_json(path).get("content") or "")
  except InputError:
    return ""


def _lines(path: Path, gaps: list[str]) -> list[Line]:
  """All lines that can be read: a run that was killed may leave half a line."""
  if not path.exists():
    gaps.append(f"There is no {path.name} yet.")
    return []
  found, damaged = [], 0
  for text in filter(str.strip, path.read_bytes().decode(errors="replace").split("\n")):
    line = files.from_json(text)
    if isinstance(line, dict):
      found.append(line)
    else:
      damaged += 1
  if damaged:
    gaps.append(f"{damaged} damaged line(s) of {path.name} are left out.")
  return found


def _arrays(path: Path, gaps: list[str]) -> dict[str, np.ndarray]:
  try:
    return files.read_arrays(path)
  except MissingError:
    gaps.append(
      f"There is no {path.name}: the denoising chain, its picture over the loss and the "
      "test tasks are left out."
    )
  except InputError as error:
    gaps.append(f"{error}.")
  return {}


def flat(settings: dict[str, Any], prefix: str = "config") -> dict[str, Any]:
  """Settings by dotted name, such as `config.meta.ways`."""
  found: dict[str, Any] = {}
  for name, value in sorted(settings.items()):
    path = f"{prefix}.{name}"
    found |= flat(value, path) if isinstance(value, dict) else {path: value}
  return found


def curve(
  lines: list[Line], name: str, phase: str, seed: int | None = None
) -> list[tuple[int, float]]:
  """(step, value) of one measure of one training, by step.

  A continued training may log a step twice: the later line stands. Values that are no
  finite numbers are left out.
  """
  found: dict[int, float] = {}
  for line in lines:
    same = (line.get("phase"), line.get("seed")) == (phase, seed)
    if same and isinstance(line.get("step"), int) and name in line:
      found[line["step"]] = float(line[name]) if _is_number(line[name]) else np.nan
  return [(step, value) for step, value in sorted(found.items()) if np.isfinite(value)]
