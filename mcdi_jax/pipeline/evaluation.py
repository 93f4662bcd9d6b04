"""All methods on the same test tasks, and how long generation takes."""

import dataclasses
from typing import Any

import jax

from mcdi_jax.baselines import Method, finetune_trials, prototypes
from mcdi_jax.data import ClassSet, DataConfig, Splits
from mcdi_jax.evaluation import (
  Facts,
  accuracy_line,
  choose,
  correct_counts,
  latency_line,
  paired_difference,
  task_keys,
  time_generation,
)
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.backbone import Features
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.generator import Trained
from mcdi_jax.tasks import Protocol, Support


def generated(name: str, generator: Generator, temperature: float) -> Method:
  """A generator as a method among the others."""
  d = generator.spec.diffusion
  settings = {
    "k": d.segments,
    "T": d.steps,
    "loss": f"{d.objective}, {d.form}",
    "sampler": d.sampler_name + (", ancestral" if d.ancestral else ""),
    "handover": d.handover,
    "temperature": temperature,
    "network": generator.spec.score.network,
    "base": generator.spec.base,
  }
  return Method(name, _adapt, (generator, temperature), settings)


def _adapt(variables: tuple[Generator, Any], support: Support, key: Any, ways: int) -> Any:
  generator, temperature = variables
  return generate_from_features(generator, support, key, temperature=temperature, ways=ways)


def evaluate(
  config: Config,
  facts: Facts,
  generators: dict[str, Trained],
  features: Features,
) -> list[dict[str, Any]]:
  """Accuracy lines of one seed: for each form of task and each way to take the test
  classes, the generators, prototypes and fine-tuning on the same tasks."""
  settings = config.evaluation
  tests = {f"{facts.data}-{features.upright_test.classes}": features.upright_test}
  if config.data.rotations:
    tests[f"{facts.data}-{features.upright_test.classes}-rotated"] = features.test
  lines = []
  for form in config.forms:
    tuned = [
      _tuned(optimiser, form, config, features, generators)
      for optimiser in ("adamw", "sgd")
    ]
    methods = [
      generated(name, generator, settings.temperature)
      for name, (generator, _) in generators.items()
    ] + [prototypes(), *tuned]
    for protocol, test in tests.items():
      lines += _compare(config, facts, methods, generators, form, protocol, test)
  return lines


def _tuned(
  optimiser: Any,
  form: Protocol,
  config: Config,
  features: Features,
  generators: dict[str, Trained],
) -> Method:
  """Fine-tuning with the settings that do best on validation tasks."""
  settings = config.evaluation
  backbone = next(iter(generators.values())).generator.backbone
  mean = backbone["mean"] / backbone["scale"]
  trials = finetune_trials(optimiser, settings.finetune_trials, mean)
  CONSOLE.print(f"{form}: choosing among {len(trials)} settings of {trials[0].name}")
  tuning = task_keys(settings.eval_seed, settings.tuning_tasks, "tuning")
  return choose(trials, features.val, form, tuning)


def _compare(
  config: Config,
  facts: Facts,
  methods: list[Method],
  generators: dict[str, Trained],
  form: Protocol,
  protocol: str,
  test: ClassSet,
) -> list[dict[str, Any]]:
  """Lines of all methods on one list of test tasks. Each is paired with `generated`; a
  generator's settings also tell its difference from prototypes, task by task."""
  keys = task_keys(config.evaluation.eval_seed, config.evaluation.tasks)
  correct = {}
  for method in methods:
    CONSOLE.print(f"{form}, {protocol}: {method.name} on {len(keys)} tasks")
    correct[method.name] = correct_counts(method, test, form, keys)
  lines = []
  for method in methods:
    counts, values = correct[method.name], {"settings": method.settings}
    if method.name in generators:
      generator, seconds = generators[method.name]
      leaves = jax.tree.leaves(generator.score)
      values |= {"parameters": sum(p.size for p in leaves), "budget_s": seconds}
      above = paired_difference(counts, correct["prototypes"], form)
      values["settings"] = {**method.settings, "minus_prototypes": above}
    rival = correct["generated"] if method.name != "generated" else None
    lines.append(accuracy_line(facts, method.name, protocol, form, counts, rival, **values))
  return lines


def latency_lines(
  config: Config, facts: Facts, generator: Generator, form: Protocol
) -> list[dict[str, Any]]:
  """Latency lines: of 1 and 256 tasks, from features and from images."""
  CONSOLE.print(f"{form}: timing generation")
  settings = config.evaluation
  found = time_generation(
    generator, form, calls=settings.latency_calls, temperature=settings.temperature
  )
  return [latency_line(facts, form, timing) for timing in found]


def result_facts(config: Config, splits: Splits, seed: int) -> Facts:
  """What all of a seed's lines share; whence the images were read, and
  where files lie, is no part of the config's hash."""
  data = DataConfig(path=splits.digest, rotations=config.data.rotations)
  same = dataclasses.replace(config, data=data, seeds=(seed,), backbone_dir="", bank_dir="")
  return Facts(
    data=splits.name,
    seed=seed,
    eval_seed=config.evaluation.eval_seed,
    backbone=f"conv4-{config.backbone.width}",
    config=content_hash(same),
    matmul_precision=config.matmul_precision,
  )
