"""`run(config, workdir)`: all stages in order, for one seed after the other."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import Splits, load_splits
from mcdi_jax.data.images import border_brightness
from mcdi_jax.diffusion import chain, make_schedule, make_segments
from mcdi_jax.evaluation import pictures, print_table
from mcdi_jax.generator import Generator
from mcdi_jax.lib import files, outputs, provenance
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE, stage
from mcdi_jax.pipeline.backbone import (
  Features,
  augmented_features,
  embed_splits,
  prepare_backbone,
)
from mcdi_jax.pipeline.bank import prepare_banks
from mcdi_jax.pipeline.config import Config, check_data, task_family
from mcdi_jax.pipeline.evaluation import evaluate, result_facts
from mcdi_jax.pipeline.generator import Material
from mcdi_jax.pipeline.tuning import Tuned, tuned_generator
from mcdi_jax.pipeline.workdir import claim, gather_results, read_results, write_results
from mcdi_jax.report import write_report

Stage = Callable[[str], AbstractContextManager[None]]


def run(config: Config, workdir: PathLike) -> list[dict[str, Any]]:
  """Runs or continues the chain in `workdir`; returns the lines of `results.jsonl`.

  Raises:
    InputError: the workdir belongs to another config or process; data too small; …
  """
  workdir = files.as_path(workdir)
  provenance.commit()  # as it is now: files may change while this runs
  precision = jax.default_matmul_precision(config.matmul_precision)
  for name in ("backbone_dir", "bank_dir"):
    if place := getattr(config, name):
      outputs.checked(place, f"config.{name}", folder=True)
  with stage("total"), files.exclusive(workdir), precision:
    splits = load_splits(config.data)
    check_data(config, splits)
    splits = claim(config, splits, workdir)
    _print_chain(config)
    for seed in config.seeds:
      _run_seed(config, splits, seed, workdir)
      lines = gather_results(config, workdir)
    print_table(lines)
    CONSOLE.print(f"results: {workdir / 'results.jsonl'}")
    CONSOLE.print(f"report: {write_report(workdir)}")
  return lines


def _run_seed(config: Config, splits: Splits, seed: int, workdir: Path) -> None:
  """The whole chain of one seed: it trains a backbone of its own, and so on."""
  prefix = f"seed {seed}, " if len(config.seeds) > 1 else ""
  timed: Stage = lambda title: stage(prefix + title)  # noqa: E731
  material = _prepare(config, splits, seed, workdir, timed)
  found: dict[str, Tuned] = {}
  choices = workdir / "tuning"
  for name in config.generators:
    main = name == config.generators[0]
    place = workdir / f"seed_{seed}" / ("" if main else name)
    with timed(name):
      found[name] = tuned_generator(config, name, seed, material, place, found, choices)
  if read_results(workdir, seed) is None:
    facts = result_facts(config, splits, seed)
    with timed("evaluation"):
      lines = evaluate(config, facts, found, material.features, choices)
    write_results(workdir, seed, lines)
  if seed == config.seeds[0]:
    with timed("pictures"):
      main_one = found[config.generators[0]].trained.generator
      _draw(config, splits, main_one, material.features, workdir)


def _prepare(
  config: Config, splits: Splits, seed: int, workdir: Path, timed: Stage
) -> Material:
  """Backbone, features and banks: what the generators of this seed are trained from."""
  metrics = workdir / "metrics.jsonl"
  family = task_family(config, splits.image_shape)
  with timed("backbone"):
    directory = _cache(config.backbone_dir, workdir / "backbone")
    backbone = prepare_backbone(config, splits, directory, metrics, seed)
  with timed("features"):
    features = embed_splits(config, splits, backbone)
    versions = augmented_features(config, splits, backbone, features.train)
  with timed("bank"):
    directory = _cache(config.bank_dir, workdir / "bank")
    source = prepare_banks(
      config,
      family,
      backbone.params,
      versions,
      features.train,
      backbone.digest,
      directory,
    )
  about = {
    "data": splits.name,
    "border_brightness": border_brightness(np.asarray(splits.train.x)) / 255,
  }
  return Material(family, backbone.params, source, features, metrics, about)


def _draw(
  config: Config, splits: Splits, generator: Generator, features: Features, workdir: Path
) -> None:
  """What the report shows of one generator."""
  path = workdir / "pictures.safetensors"
  try:
    files.read_checked_arrays(path)
    return
  except InputError:  # not there, unfinished or damaged
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
  files.write_checked_arrays(path, found)


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
