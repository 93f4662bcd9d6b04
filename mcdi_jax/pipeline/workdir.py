"""What a workdir belongs to, and the results of its seeds."""

import contextlib
import dataclasses
import json
import shlex
from typing import Any

from mcdi_jax.lib import files
from mcdi_jax.lib.config import content_hash, from_mapping
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.config import Config

_PLACES = ("config.backbone_dir", "config.bank_dir")
# How the data are read, of which their content is the outcome.
_READING = ("config.data.", "config.features.targets")
_ROTATIONS = "config.data.rotations"


def claim(config: Config, given: Any, workdir: Path) -> Any:
  """Writes data.json and config.json, or refuses a workdir that another run has made.

  A run is what its settings say and what its images show; where they and its caches lie,
  and from what kind of source the images are read, is no part of it.

  Returns:
    What was read, under the name that this run has called them from its start.

  Raises:
    InputError: another run's; or one that does not say whose it is.
  """
  before = _read_config(workdir)
  content = _content(config)
  data = _read_data(workdir) if before is not None else None
  if before is not None:
    differing = _differing(before, content, data, given.digest)
    if differing:
      raise InputError(
        f"workdir {workdir} was made with another config ({', '.join(differing)} differ): "
        f"name another --workdir{_caches(config, workdir)}"
      )
  if data is not None:
    given = given._replace(name=data["name"])
  counts = [len(names) for names in given.classes]
  about = {"name": given.name, "content": given.digest, "classes": counts}
  files.write_json(workdir / "data.json", about)
  files.write_json(workdir / "config.json", content)
  return given


def _content(config: Config) -> dict[str, Any]:
  return json.loads(json.dumps(dataclasses.asdict(config)))


def _read_config(workdir: Path) -> dict[str, Any] | None:
  """None in a workdir where no seed has begun."""
  path = workdir / "config.json"
  try:
    return files.read_json(path)
  except MissingError:
    seeds = sorted(place.name for place in workdir.glob("seed_*"))
    if seeds:
      raise InputError(
        f"workdir {workdir} holds {', '.join(seeds)} but no config.json, which says what "
        "made them: put it back, or name another --workdir"
      ) from None
    return None
  except DamagedError:
    raise DamagedError(
      f"{path} is damaged, which says what made this run: put the whole one back, or name "
      "another --workdir"
    ) from None


def _read_data(workdir: Path) -> dict[str, Any] | None:
  try:
    return files.read_json(workdir / "data.json", "name", "content")
  except InputError:
    return None


def _differing(
  before: dict[str, Any], now: dict[str, Any], data: dict[str, Any] | None, digest: str
) -> list[str]:
  """Names of what makes another run of it."""
  with contextlib.suppress(InputError):  # what is new since then is at its default
    before = _content(from_mapping(Config, before))
  names = [name for name in _differences(before, now, "config") if name not in _PLACES]
  reading = [name for name in names if name.startswith(_READING)]
  if data is None:  # nothing tells the content: the settings must be the same
    return names
  if data["content"] == digest:
    return [name for name in names if name not in reading or name == _ROTATIONS]
  return names if reading else [*names, "the images"]


def _differences(a: Any, b: Any, path: str) -> list[str]:
  """Dotted names of the settings that are not the same."""
  if not (isinstance(a, dict) and isinstance(b, dict)):
    return [] if a == b else [path]
  names = sorted(a.keys() | b.keys())
  return [d for n in names for d in _differences(a.get(n), b.get(n), f"{path}.{n}")]


def _caches(config: Config, workdir: Path) -> str:
  """What of the refused workdir serves in another, and how."""
  inside = {
    "backbone": (config.backbone_dir, workdir / "backbone"),
    "bank": (config.bank_dir, workdir / "bank"),
  }
  flags = [
    shlex.quote(f"--config.{name}_dir={place}")
    for name, (elsewhere, place) in inside.items()
    if not elsewhere and place.exists()
  ]
  if not flags:
    return ""
  return f"; what fits of the caches in this one serves there with {' '.join(flags)}"


def read_results(workdir: Path, seed: int) -> list[dict[str, Any]] | None:
  """The lines of a seed as `write_results` wrote them, or None: they are to be made."""
  path = _results_path(workdir, seed)
  try:
    found = files.read_json(path, "sha256", "lines")
  except MissingError:
    return None
  except DamagedError:
    found = {"sha256": None, "lines": None}
  if found["sha256"] == content_hash(found["lines"]):
    return found["lines"]
  CONSOLE.print(f"{path} is damaged: its tests are made again")
  return None


def write_results(workdir: Path, seed: int, lines: list[dict[str, Any]]) -> None:
  """All lines of a seed, in one file with its own checksum: complete or absent."""
  path = _results_path(workdir, seed)
  lines = files.plain(lines, path.name)
  content = {"sha256": content_hash(lines), "lines": lines}  # keys in their order
  files.write_bytes(path, json.dumps(content).encode() + b"\n")


def gather_results(config: Config, workdir: Path) -> list[dict[str, Any]]:
  """Makes results.jsonl of the seeds that are complete; returns its lines."""
  seeds = [read_results(workdir, seed) or [] for seed in config.seeds]
  lines = [line for one in seeds for line in one]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  files.write_bytes(workdir / "results.jsonl", text.encode())
  return lines


def _results_path(workdir: Path, seed: int) -> Path:
  return workdir / f"seed_{seed}" / "results.json"
