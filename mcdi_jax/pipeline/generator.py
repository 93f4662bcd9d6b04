"""Training of one generator with one seed."""

import dataclasses
from typing import Any, NamedTuple

from mcdi_jax.diffusion import make_schedule
from mcdi_jax.families import TaskFamily
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
from mcdi_jax.pipeline.config import GENERATORS, Config, Recipe
from mcdi_jax.pipeline.windows import Windows


class Material(NamedTuple):
  """What every generator of a run is trained from.

  Attributes:
    family: the tasks, and the network that weights are generated for.
    frozen: params of the network that are the same for all tasks.
    bank: the tasks of all forms.
    val: the validation items, embedded.
    metrics: the JSON lines that training is logged in.
    about: facts of the data that are kept beside a generator.
  """

  family: TaskFamily
  frozen: Any
  bank: Windows[TaskSource]
  val: Any
  metrics: Path
  about: dict[str, Any]


class Plan(NamedTuple):
  """How a generator is trained.

  Attributes:
    name: of the generator, with its rate factor, as in the log.
    recipe: of the generator.
    start: untrained, or the one that training goes on from.
    seconds: that were spent on the start.
    training: its functions.
    steps, validate_every, save_every: of the loop.
    key: of the draws.
  """

  name: str
  recipe: Recipe
  start: Generator
  seconds: float
  training: Training
  steps: int
  validate_every: int
  save_every: int
  key: Any


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
    generator = load_generator(directory, family=type(material.family))
    return Trained(generator, about["seconds"])
  plan = _plan(_faster(config, rate_factor), name, seed, material, found)
  passes = {"passes": config.finishing.passes} if plan.recipe.iterated else {}
  phase = name if rate_factor == 1 else f"{name}, rate × {rate_factor:g}"
  trained, quality = _trained(config, plan._replace(name=phase), seed, material, place)
  about = {
    "method": name,
    "seed": seed,
    "seconds": trained.seconds,
    **passes,
    f"validation_{material.family.metric.name}": quality,
    **material.about,
    "config": content_hash(config),
    "versions": provenance.versions(),
    "commit": provenance.commit(),
  }
  save_generator(directory, trained.generator, about)
  return trained


def _plan(
  config: Config, name: str, seed: int, material: Material, found: dict[str, Trained]
) -> Plan:
  """REPTILE and single level on the local consistency loss; or the query loss."""
  meta, last, recipe = config.meta, config.finishing, GENERATORS[name]
  before = found[recipe.starts_from] if recipe.starts_from else None
  start = before.generator if before else _untrained(config, recipe, material, seed)
  if recipe.algorithm == "query_loss":
    steps, rate = last.steps, last.rate
    if not before:  # as a rule as many steps as the finished generator had in all
      steps, rate = last.hypernetwork_steps or meta.steps + steps, meta.rate
    passes = last.passes if recipe.iterated else 1
    training = finishing(last, steps=steps, rate=rate, passes=passes)
    counts = (steps, last.validate_every, last.save_every)
  else:
    training = meta_training(meta, recipe.algorithm)
    counts = (meta.steps, meta.validate_every, meta.save_every)
    counts = tuple(meta.loop_steps(recipe.algorithm, n) for n in counts)
  seconds = before.seconds if before else 0.0
  key = key_for(seed, f"training of {name}")
  return Plan(name, recipe, start, seconds, training, *counts, key)


def _trained(
  config: Config, plan: Plan, seed: int, material: Material, place: Path
) -> tuple[Trained, float | None]:
  """The trained generator; and how good it was on the validation tasks, if it was chosen
  by them."""
  # The same validation tasks for all generators of a seed: they are chosen on equal terms.
  k_validation, tasks = key_for(seed, "validation"), config.meta.validation_tasks
  by_queries = plan.recipe.algorithm == "query_loss"
  tau = config.finishing.temperature if by_queries else 0.0
  passes = config.finishing.passes if plan.recipe.iterated else 1
  settings = {"tasks": tasks, "temperature": tau, "passes": passes}
  validate = validation(config.forms, k_validation, **settings)
  generator, training = plan.start, plan.training

  number: int | None = None  # of the step, on the host: the device's would be waited for

  def step(state: Any, key: Any) -> tuple[Any, dict[str, Any]]:
    nonlocal number
    number = int(state.step) if number is None else number + 1
    source = material.bank.at(number)
    batch = training.draw(source, generator, key, state.step)
    return training.step(state, generator, batch, key)

  tags = {"phase": plan.name, "seed": seed}
  state = train(
    step,
    training.init(generator.score),
    plan.key,
    steps=plan.steps,
    title=f"{plan.name}, seed {seed}",
    write=lambda line: files.append_json(material.metrics, {**tags, **line}),
    validate=lambda state: validate(state, generator, material.val),
    validate_every=plan.validate_every,
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=plan.save_every,
    remedy=_remedy(config, plan.recipe, material.metrics.parent),
  )
  generator = dataclasses.replace(generator, score=selected(state, config.meta))
  spent = _seconds_spent(files.read_json_lines(material.metrics, tolerant=True), tags)
  quality = float(state.best_quality) if config.meta.select == "best" else None
  return Trained(generator, plan.seconds + spent), quality


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
  spent: list[tuple[int, float]] = []
  for line in lines:
    if tags.items() <= line.items() and "seconds" in line:
      while spent and spent[-1][0] >= line["step"]:
        spent.pop()
      spent.append((line["step"], line["seconds"]))
  return sum(seconds for _, seconds in spent)


def _untrained(config: Config, recipe: Recipe, material: Material, seed: int) -> Generator:
  """The specification, the frozen backbone, the statistics; a fresh score network."""
  diffusion = recipe.chain(config.diffusion)
  # One schedule for all chains of as many steps, however it depends on the segments.
  same_steps = diffusion.steps == config.diffusion.steps
  spec = GeneratorSpec(
    score=config.score,
    diffusion=diffusion,
    family=material.family,
    base=config.delta_base if recipe.delta else config.base,
    matmul_precision=config.matmul_precision,
    precondition=config.precondition,
  )
  generator = dataclasses.replace(
    blank(spec, key_for(seed, "score network"), gauge=config.gauge),
    frozen=material.frozen,
    schedule=make_schedule(config.diffusion if same_steps else diffusion),
  )
  keep = config.meta.support == "kept"
  key = key_for(seed, "scale of the weights")
  return fit_space(generator, material.bank.at(0), key, keep_support=keep)
