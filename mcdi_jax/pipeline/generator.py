"""Training of one generator with one seed."""

import dataclasses
from typing import Any, NamedTuple

from mcdi_jax.diffusion import make_schedule
from mcdi_jax.generator import (
  Generator,
  GeneratorSpec,
  load_generator,
  save_generator,
)
from mcdi_jax.generator.storage import about_generator, blank
from mcdi_jax.lib import files, provenance
from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.loop import train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import (
  TaskSource,
  Training,
  finishing,
  fit_space,
  meta_training,
  selected,
  validation,
)
from mcdi_jax.pipeline.backbone import Features
from mcdi_jax.pipeline.config import GENERATORS, Config, Recipe


class Material(NamedTuple):
  """What every generator of a run is trained from.

  Attributes:
    image_shape: (h, w, c).
    backbone: params of the frozen network.
    source: the tasks of all forms.
    features: of all splits.
    metrics: the JSON lines that training is logged in.
    about: facts of the data that are kept beside a generator.
  """

  image_shape: tuple[int, ...]
  backbone: Any
  source: TaskSource
  features: Features
  metrics: Path
  about: dict[str, Any]


class Plan(NamedTuple):
  """A training and how long it goes on: steps of the loop, and those between looks at the
  validation tasks and between checkpoints."""

  training: Training
  steps: int
  validate_every: int
  save_every: int


class Trained(NamedTuple):
  """A generator, and the seconds that its training took."""

  generator: Generator
  seconds: float


def prepare_generator(
  config: Config,
  name: str,
  seed: int,
  material: Material,
  place: Path,
  found: dict[str, Trained],
  rate_factor: float = 1.0,
) -> Trained:
  """Reads or trains a generator.

  Args:
    place: the directory of its checkpoints and of `generator/`.
    found: those of this seed that came before it; finishing starts from one of them.
    rate_factor: of the outer optimiser's rate; another than 1 is named in the log.
  """
  directory = place / "generator"
  if (directory / "generator.json").exists():
    CONSOLE.print(f"{name}, seed {seed}: found in {directory}")
    about = about_generator(directory)
    return Trained(load_generator(directory), about["seconds"])
  recipe = GENERATORS[name]
  before = found[recipe.starts_from] if recipe.starts_from else None
  generator = before.generator if before else _untrained(config, recipe, material, seed)
  plan = _plan(_faster(config, rate_factor), recipe, generator)
  # The same validation tasks for all generators of a seed: they are chosen on equal terms.
  k_validation, tasks = key_for(seed, "validation"), config.meta.validation_tasks
  validate = validation(generator, config.forms, k_validation, tasks=tasks)
  phase = name if rate_factor == 1 else f"{name}, rate × {rate_factor:g}"
  tags = {"phase": phase, "seed": seed}
  state = train(
    lambda state, key: plan.training.step(state, key, material.source),
    plan.training.init(generator.score),
    key_for(seed, f"training of {name}"),
    steps=plan.steps,
    title=f"{phase}, seed {seed}",
    write=lambda line: files.append_json(material.metrics, {**tags, **line}),
    inspect=lambda state: validate(state, material.features.val),
    inspect_every=plan.validate_every,
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=plan.save_every,
    remedy=_remedy(config, recipe, material.metrics.parent),
  )
  generator = dataclasses.replace(generator, score=selected(state, config.meta))
  seconds = _seconds_spent(files.read_json_lines(material.metrics, tolerant=True), tags)
  seconds += before.seconds if before else 0.0
  best = float(state.best_accuracy) if config.meta.select == "best" else None
  about = {
    "method": name,
    "seed": seed,
    "seconds": seconds,
    "validation_accuracy": best,
    **material.about,
    "config": content_hash(config),
    "versions": provenance.versions(),
    "commit": provenance.commit(),
  }
  save_generator(directory, generator, about)
  return Trained(generator, seconds)


def _plan(config: Config, recipe: Recipe, generator: Generator) -> Plan:
  """REPTILE and single level on the local consistency loss; or the query loss."""
  meta, finishing_config = config.meta, config.finishing
  if recipe.algorithm != "query_loss":
    training = meta_training(generator, meta, recipe.algorithm)
    counts = (meta.steps, meta.validate_every, meta.save_every)
    return Plan(training, *(meta.loop_steps(recipe.algorithm, n) for n in counts))
  steps, rate = finishing_config.steps, finishing_config.rate
  if not recipe.starts_from:  # as many steps as the finished generator had in all
    steps, rate = meta.steps + steps, meta.rate
  training = finishing(generator, finishing_config, steps=steps, rate=rate)
  return Plan(training, steps, finishing_config.validate_every, finishing_config.save_every)


def _remedy(config: Config, recipe: Recipe, workdir: Path) -> str:
  """Against divergence: another rate is another config, and a workdir belongs to one."""
  group = "finishing" if recipe.starts_from else "meta"
  return (
    f"lower config.{group}.rate and name another --workdir, as one belongs to one config; "
    "it makes neither backbone nor bank anew with config.backbone_dir = "
    f"{config.backbone_dir or workdir / 'backbone'} and config.bank_dir = "
    f"{config.bank_dir or workdir / 'bank'}"
  )


def _faster(config: Config, factor: float) -> Config:
  meta, finishing_config = config.meta, config.finishing
  return dataclasses.replace(
    config,
    meta=dataclasses.replace(meta, rate=factor * meta.rate),
    finishing=dataclasses.replace(finishing_config, rate=factor * finishing_config.rate),
  )


def _seconds_spent(lines: list[dict[str, Any]], tags: dict[str, Any]) -> float:
  """Of a training that may have been continued: where a step was logged twice, the later
  line stands."""
  spent: dict[int, float] = {}
  for line in lines:
    if tags.items() <= line.items() and "seconds" in line:
      kept = {step: s for step, s in spent.items() if step < line["step"]}
      spent = {**kept, line["step"]: line["seconds"]}
  return sum(spent.values())


def _untrained(config: Config, recipe: Recipe, material: Material, seed: int) -> Generator:
  """The specification, the frozen backbone, the statistics; a fresh score network."""
  diffusion = recipe.chain(config.diffusion)
  # One schedule for all chains of as many steps, however it depends on the segments.
  same_steps = diffusion.steps == config.diffusion.steps
  spec = GeneratorSpec(
    score=config.score,
    diffusion=diffusion,
    backbone_width=config.backbone.width,
    image_shape=material.image_shape,
    base=recipe.base,
    ways=config.meta.ways,
    shots=config.meta.shots,
    matmul_precision=config.matmul_precision,
  )
  generator = dataclasses.replace(
    blank(spec, key_for(seed, "score network"), gauge=config.gauge),
    backbone=material.backbone,
    schedule=make_schedule(config.diffusion if same_steps else diffusion),
  )
  keep = config.meta.support == "kept"
  key = key_for(seed, "scale of the weights")
  return fit_space(generator, material.source, key, keep_support=keep)
