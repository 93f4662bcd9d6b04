"""All methods on the same test tasks, and how long each takes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet, DataConfig, Splits
from mcdi_jax.evaluation import (
  BATCHES,
  Facts,
  Timing,
  accuracy_line,
  correct_counts,
  difference,
  draw_task,
  latency_line,
  task_keys,
  time_generation,
  time_methods,
  with_share_of_peak,
)
from mcdi_jax.generator import Generator
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import TUNABLE, Method, generated, prepared
from mcdi_jax.pipeline.backbone import Features
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.pipeline.tuning import Choice, Tuned, tuned_baseline
from mcdi_jax.tasks import Protocol, Support

_UNTUNED = Choice({}, 1, [], None)
Methods = list[tuple[Method, Choice]]


def evaluate(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  features: Features,
  choices: Path,
) -> list[dict[str, Any]]:
  """The lines of one seed: accuracies of the generators and the baselines on the same
  tasks, for each form of task and each way to take the test classes; with the first seed
  also latencies.

  Args:
    choices: the directory that tuned settings are kept in.
  """
  upright = features.upright_test
  tests = {f"{facts.data}-{upright.classes}": upright}
  if config.data.rotations:
    tests[f"{facts.data}-{upright.classes}-rotated"] = features.test
  lines, latencies = [], []
  for form in config.forms:
    methods = _methods(config, generators, form, features, choices)
    for protocol, test in tests.items():
      lines += _compare(config, facts, methods, generators, form, protocol, test, upright)
    if config.evaluation.latency and facts.seed == config.seeds[0]:
      found = [method for method, _ in methods]
      latencies += _latencies(config, facts, found, generators, form, upright)
  return lines + latencies


def _methods(
  config: Config,
  generators: dict[str, Tuned],
  form: Protocol,
  features: Features,
  choices: Path,
) -> Methods:
  backbone = next(iter(generators.values())).trained.generator.frozen
  mean = backbone["mean"] / backbone["scale"]
  found: Methods = [
    (generated(name, trained.generator, choice.settings["temperature"]), choice)
    for name, (trained, choice) in generators.items()
  ]
  found += [
    tuned_baseline(config, tunable, form, features.val, mean, choices)
    for tunable in TUNABLE
  ]
  return [*found, (prepared(config.preparation, mean), _UNTUNED)]


def _compare(
  config: Config,
  facts: Facts,
  methods: Methods,
  generators: dict[str, Tuned],
  form: Protocol,
  protocol: str,
  test: ClassSet,
  upright: ClassSet,
) -> list[dict[str, Any]]:
  """Lines of all methods on one list of test tasks. Each is paired with `generated`; a
  generator's settings also tell its difference from prototypes."""
  keys = task_keys(config.evaluation.eval_seed, config.evaluation.tasks)
  CONSOLE.print(f"{form}, {protocol}: {len(methods)} methods on {len(keys)} tasks")
  counts = correct_counts([method for method, _ in methods], test, form, keys)
  by_name = {m.name: c for (m, _), c in zip(methods, counts, strict=True)}
  lines = []
  for method, choice in methods:
    mine, settings, values = by_name[method.name], dict(method.settings), {}
    if choice.at_edge:
      settings["at_edge"] = choice.at_edge
    if method.name in generators:
      about, values = _about_generator(method.name, generators)
      rival = by_name["prototypes"]
      above = difference(mine, rival, form.queries, upright.classes)
      settings |= about | {"minus_prototypes": list(above)}
    lines.append(
      accuracy_line(
        facts,
        method.name,
        protocol,
        form,
        mine,
        by_name["generated"] if method.name != "generated" else None,
        clusters=upright.classes,
        settings=settings,
        trials=choice.trials,
        **values,
      )
    )
  return lines


def _about_generator(
  name: str, generators: dict[str, Tuned]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Further settings of a generator, and further values of its lines."""
  (generator, seconds), choice = generators[name]
  settings = {"rate_factor": choice.settings["rate_factor"]}
  start = GENERATORS[name].starts_from
  if start and _same(generator, generators[start].trained.generator):
    settings["unchanged_start"] = True
  size = sum(leaf.size for leaf in jax.tree.leaves(generator.score))
  return settings, {"parameters": size, "budget_s": seconds}


def _same(a: Generator, b: Generator) -> bool:
  """Whether training changed nothing: the best on validation tasks was the start."""
  pairs = zip(*map(jax.tree.leaves, (a.score, b.score)), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def _latencies(
  config: Config,
  facts: Facts,
  methods: list[Method],
  generators: dict[str, Tuned],
  form: Protocol,
  test: ClassSet,
) -> list[dict[str, Any]]:
  """Of every method from features, one task and many; of generators also from images."""
  CONSOLE.print(f"{form}: timing {len(methods)} methods")
  keys = task_keys(config.evaluation.eval_seed, max(BATCHES))
  supports = jax.vmap(lambda key: draw_task(key, test, form)[0].support)(keys)
  seconds = config.evaluation.latency_s / len(config.forms)
  measures = 2 * len(methods) + 2 * len(generators)
  share = lambda number: seconds * number / measures  # noqa: E731
  found = time_methods(methods, supports, form.ways, seconds=share(2 * len(methods)))
  for name, (trained, choice) in generators.items():
    temperature = choice.settings["temperature"]
    call = (name, trained.generator, form)
    found += time_generation(*call, seconds=share(2), temperature=temperature)
  return [latency_line(facts, form, timing) for timing in found]


def benchmark(generator: Generator, form: Protocol, *, seconds: float) -> list[Timing]:
  """Times a generator from features and from images, without any data."""
  method = generated("generated", generator, 0.0)
  label = jnp.repeat(jnp.arange(form.ways), form.shots)
  width, tasks = generator.space.width - 1, max(BATCHES)
  x = jax.random.normal(jax.random.key(0), (tasks, len(label), width)) / width**0.5
  supports = Support(x, jnp.tile(label, (tasks, 1)))
  found = time_methods([method], supports, form.ways, seconds=seconds / 2)
  found = with_share_of_peak(found, generator, form)
  images = {"seconds": seconds / 2, "batches": BATCHES}
  return found + time_generation(method.name, generator, form, **images)


def result_facts(config: Config, splits: Splits, seed: int) -> Facts:
  """What all of a seed's lines share; whence the images were read, and where files lie,
  is no part of the config's hash; the seed that settings were chosen with is."""
  data = DataConfig(path=splits.digest, rotations=config.data.rotations)
  same = dataclasses.replace(config, data=data, seeds=(seed,), backbone_dir="", bank_dir="")
  return Facts(
    data=splits.name,
    seed=seed,
    eval_seed=config.evaluation.eval_seed,
    backbone=f"conv4-{config.backbone.width}",
    config=content_hash({"config": same, "tuned_with": config.seeds[0]}),
    matmul_precision=config.matmul_precision,
  )
