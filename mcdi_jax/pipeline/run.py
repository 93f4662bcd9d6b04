"""`run(config, workdir)`: all stages in order."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import Splits, load_splits
from mcdi_jax.data.images import border_brightness
from mcdi_jax.diffusion import chain, make_schedule, make_segments
from mcdi_jax.evaluation import pictures, print_table
from mcdi_jax.generator import Generator
from mcdi_jax.lib import files, provenance
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.backbone import (
  Features,
  augmented_features,
  embed_splits,
  prepare_backbone,
)
from mcdi_jax.pipeline.bank import prepare_banks
from mcdi_jax.pipeline.config import Config, check_data
from mcdi_jax.pipeline.evaluation import evaluate, result_facts
from mcdi_jax.pipeline.generator import Material
from mcdi_jax.pipeline.tuning import Tuned, tuned_generator
from mcdi_jax.report import write_report


def run(config: Config, workdir: PathLike) -> list[dict[str, Any]]:
  """Runs or continues the chain in `workdir`; returns the lines of `results.jsonl`.

  Raises:
    InputError: the workdir belongs to another config or process; data too small; …
  """
  workdir = files.as_path(workdir)
  provenance.commit()  # as it is now: files may change while this runs
  with files.exclusive(workdir), jax.default_matmul_precision(config.matmul_precision):
    splits = load_splits(config.data)
    check_data(config, splits)
    _claim(config, workdir)
    counts = [len(names) for names in splits.classes]
    data = {"name": splits.name, "content": splits.digest, "classes": counts}
    files.write_json(workdir / "data.json", data)
    return _run(config, splits, workdir)


def _run(config: Config, splits: Splits, workdir: Path) -> list[dict[str, Any]]:
  metrics = workdir / "metrics.jsonl"
  _print_chain(config)
  backbone_dir = _cache(config.backbone_dir, workdir / "backbone")
  backbone = prepare_backbone(config, splits, backbone_dir, metrics)
  features = embed_splits(config, splits, backbone)
  versions = augmented_features(config, splits, backbone, features.train)
  bank_dir = _cache(config.bank_dir, workdir / "bank")
  source = prepare_banks(config, versions, features.train, backbone.digest, bank_dir)
  results = workdir / "results.jsonl"
  about = {
    "data": splits.name,
    "border_brightness": border_brightness(np.asarray(splits.train.x)) / 255,
  }
  material = Material(splits.image_shape, backbone.params, source, features, metrics, about)
  choices = workdir / "tuning"
  for number, seed in enumerate(config.seeds):
    found: dict[str, Tuned] = {}
    for name in config.generators:
      main = name == config.generators[0]
      place = workdir / f"seed_{seed}" / ("" if main else name)
      found[name] = tuned_generator(config, name, seed, material, place, found, choices)
    if not any(line["seed"] == seed for line in files.read_json_lines(results)):
      facts = result_facts(config, splits, seed)
      files.append_json_lines(results, evaluate(config, facts, found, features, choices))
    if number == 0:
      main_one = found[config.generators[0]].trained.generator
      _draw(config, splits, main_one, features, workdir)
  lines = files.read_json_lines(results)
  print_table(lines)
  CONSOLE.print(f"results: {results}")
  CONSOLE.print(f"report: {write_report(workdir)}")
  return lines


def _draw(
  config: Config, splits: Splits, generator: Generator, features: Features, workdir: Path
) -> None:
  """What the report shows of one generator."""
  path = workdir / "pictures.safetensors"
  if path.exists():
    return
  CONSOLE.print("pictures: the denoising chain, and some test tasks")
  images = jax.tree.map(jnp.asarray, splits.test)
  key = key_for(config.evaluation.eval_seed, "pictures")
  found = pictures(
    generator,
    config.preparation,
    config.forms[0],
    features.train,
    features.upright_test,
    images,
    key,
  )
  files.write_arrays(path, found)


def _claim(config: Config, workdir: Path) -> None:
  """Writes the config, or refuses a workdir that another config has written."""
  path = workdir / "config.json"
  content = json.loads(json.dumps(dataclasses.asdict(config)))
  if path.exists() and (found := files.read_json(path)) != content:
    names = ", ".join(_differences(found, content, "config"))
    raise InputError(
      f"workdir {workdir} was made with another config ({names} differ): name another "
      "workdir, or delete this one"
    )
  files.write_json(path, content)


def _differences(a: Any, b: Any, path: str) -> list[str]:
  """Dotted names of the settings that are not the same."""
  if not (isinstance(a, dict) and isinstance(b, dict)):
    return [] if a == b else [path]
  names = sorted(a.keys() | b.keys())
  return [d for n in names for d in _differences(a.get(n), b.get(n), f"{path}.{n}")]


def _cache(setting: str, default: Path) -> Path:
  return files.as_path(setting) if setting else default


def _print_chain(config: Config) -> None:
  """The schedule, and ᾱ where each segment starts, with the boundaries."""
  segments = make_segments(config.diffusion.steps, config.diffusion.segments)
  coefficients = chain(make_schedule(config.diffusion), segments)
  alpha = coefficients.alpha
  starts = [float(coefficients.signal[i, t]) ** 2 for i, t in enumerate(coefficients.start)]
  CONSOLE.print(
    f"chain: T = {config.diffusion.steps}, 1−α from {1 - alpha[0]:.3g} to "
    f"{1 - alpha[-1]:.3g}, boundaries {segments.boundaries}, ᾱ at each segment's start "
    f"{', '.join(f'{a:.3g}' for a in starts)}"
  )
