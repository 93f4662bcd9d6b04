"""Meta-training of one generator with one seed."""

import dataclasses
from typing import Any

import jax

from mcdi_jax.diffusion import make_schedule
from mcdi_jax.generator import (
  Generator,
  GeneratorSpec,
  load_generator,
  save_generator,
)
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib import files, provenance
from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.loop import train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import (
  TaskSource,
  fit_space,
  meta_training,
  selected,
  validation,
)
from mcdi_jax.pipeline.backbone import Features
from mcdi_jax.pipeline.config import GENERATORS, Config

Sources = dict[tuple[int, int], TaskSource]


def prepare_generator(
  config: Config,
  name: str,
  seed: int,
  image_shape: tuple[int, ...],
  backbone: Any,
  sources: Sources,
  features: Features,
  place: Path,
  metrics: Path,
) -> tuple[Generator, float]:
  """Reads or trains a generator; returns it with the seconds that its training took.

  Args:
    place: the directory of its checkpoints and of `generator/`.
    metrics: the JSON lines that its training is logged in.
  """
  directory = place / "generator"
  if (directory / "generator.json").exists():
    CONSOLE.print(f"{name}, seed {seed}: found in {directory}")
    about = files.read_json(directory / "generator.json")["about"]
    return load_generator(directory), about["seconds"]
  algorithm, base = GENERATORS[name]
  k_init, k_fit, k_run, k_validation = jax.random.split(jax.random.key(seed), 4)
  generator = _untrained(config, base, image_shape, backbone, sources, k_init, k_fit)
  init, step = meta_training(generator, config.meta, algorithm)
  look = validation(
    generator, config.forms, k_validation, tasks=config.meta.validation_tasks
  )
  who = {"phase": name, "seed": seed}
  state = train(
    lambda state, key: step(state, key, sources),
    init(generator.score),
    k_run,
    steps=config.meta.loop_steps(algorithm, config.meta.steps),
    title=f"{name}, seed {seed}",
    write=lambda line: files.append_json(metrics, {**who, **line}),
    inspect=lambda state: look(state, features.val),
    inspect_every=config.meta.loop_steps(algorithm, config.meta.validate_every),
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=config.meta.loop_steps(algorithm, config.meta.save_every),
  )
  generator = dataclasses.replace(generator, score=selected(state, config.meta))
  seconds = _seconds_spent(files.read_json_lines(metrics), who)
  about = {
    "method": name,
    "seed": seed,
    "seconds": seconds,
    "validation_accuracy": float(state.best_accuracy),
    "config": content_hash(config),
    "versions": provenance.versions(),
    "commit": provenance.commit(),
  }
  save_generator(directory, generator, about)
  return generator, seconds


def _seconds_spent(lines: list[dict[str, Any]], who: dict[str, Any]) -> float:
  """Of a training that may have been continued: where a step was logged twice, the later
  line stands."""
  spent: dict[int, float] = {}
  for line in lines:
    if who.items() <= line.items() and "seconds" in line:
      kept = {step: s for step, s in spent.items() if step < line["step"]}
      spent = {**kept, line["step"]: line["seconds"]}
  return sum(spent.values())


def _untrained(
  config: Config,
  base: str,
  image_shape: tuple[int, ...],
  backbone: Any,
  sources: Sources,
  k_init: Any,
  k_fit: Any,
) -> Generator:
  """The specification, the frozen backbone, the statistics; a fresh score network."""
  spec = GeneratorSpec(
    score=config.score,
    diffusion=config.diffusion,
    backbone_width=config.backbone.width,
    image_shape=image_shape,
    base=base,
    ways=config.meta.ways,
    shots=config.meta.shots,
  )
  generator = dataclasses.replace(
    blank(spec, k_init, gauge=config.gauge),
    backbone=backbone,
    schedule=make_schedule(config.diffusion),
  )
  return fit_space(generator, sources, k_fit)
