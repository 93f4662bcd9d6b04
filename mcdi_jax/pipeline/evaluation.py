"""All methods on the same test tasks, and how long each takes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mcdi_jax.evaluation import (
  Facts,
  Measure,
  Scores,
  difference,
  metric_line,
  score,
  task_keys,
)
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import Method, ensembled, generated, iterated, refined
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.pipeline.controls import controls_of
from mcdi_jax.pipeline.kept_scores import KeptScores
from mcdi_jax.pipeline.spread import sample_rows
from mcdi_jax.pipeline.timings import fit_to, latencies
from mcdi_jax.pipeline.tuning import UNTUNED, Methods, Tuned, tuned_baseline
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol


def evaluate(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  source: TaskSource,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
) -> list[dict[str, Any]]:
  """The lines of one seed: the metric of the generators, their rivals and the controls on
  the same tasks, for each form of task and each way to take the test items; with the first
  seed also latencies.

  Args:
    choices: the directory that tuned settings are kept in.
  """
  lines, timings = [], []
  # Where tasks are taken one by one, they take long, and rivals are the same for all seeds.
  scored = KeptScores(choices / "scores") if facts.family.one_by_one else score
  for number, form in enumerate(config.forms):
    methods = methods_of(config, facts.family, generators, form, suite, rivals, choices)
    controls = controls_of(config, generators, source, number, form, suite)
    sampled = sample_rows(config, generators, form, suite.val)
    controls += [(row.method, UNTUNED) for row in sampled]
    own = [*generators, *(method.name for method in _passes(config, generators))]
    others = [method.name for method, _ in methods if method.name not in own]
    pairs = dict.fromkeys(own, others)
    pairs |= {
      row.method.name: [row.against] for row in sampled if row.against != row.method.name
    }
    for protocol, test in suite.tests.items():
      call = (config, facts, methods + controls, generators, form, protocol, test)
      lines += compare(*call, suite.clusters, pairs, scored)
    if config.evaluation.latency and facts.seed == config.seeds[0]:
      found, test = [method for method, _ in methods], next(iter(suite.tests.values()))
      timings += latencies(config, facts, found, generators, form, test)
  return lines + timings


def methods_of(
  config: Config,
  family: TaskFamily,
  generators: dict[str, Tuned],
  form: Protocol,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
) -> Methods:
  found: Methods = [
    (generated(name, trained.generator, choice.settings["temperature"]), choice)
    for name, (trained, choice) in generators.items()
  ]
  found += [(method, UNTUNED) for method in _passes(config, generators)]
  if samples := config.evaluation.ensemble:
    first, (trained, _) = next(iter(generators.items()))
    found += [(ensembled(first, trained.generator, samples), UNTUNED)]
  found += [
    tuned_baseline(config, tunable, form, family, suite.val, rivals.given, choices)
    for tunable in rivals.tunable
  ]
  main = next(iter(generators.values()))
  for start in config.evaluation.refine_from:
    given = generators.get(start, main).trained.generator
    found += [
      tuned_baseline(config, refined(start, n), form, family, suite.val, given, choices)
      for n in config.evaluation.refine_steps
    ]
  return [*found, *((method, UNTUNED) for method in rivals.fixed)]


def _passes(config: Config, generators: dict[str, Tuned]) -> list[Method]:
  """What generators that are trained for several passes make in 2, 3, … of them."""
  most = config.evaluation.passes or config.finishing.passes
  return [
    iterated(name, trained.generator, choice.settings["temperature"], passes)
    for name, (trained, choice) in generators.items()
    if GENERATORS[name].iterated
    for passes in range(2, most + 1)
  ]


def compare(
  config: Config,
  facts: Facts,
  methods: Methods,
  generators: dict[str, Tuned],
  form: Protocol,
  protocol: str,
  test: Any,
  clusters: int | None,
  pairs: dict[str, list[str]],
  scored: Callable[..., list[Scores]] = score,
) -> list[dict[str, Any]]:
  """Lines of all methods on one list of test tasks. Each is paired with `generated`; its
  settings also tell its differences from the methods that `pairs` has for it.

  Args:
    scored: what is called as `score` is.
  """
  keys = task_keys(config.evaluation.eval_seed, config.evaluation.tasks)
  CONSOLE.print(f"{form}, {protocol}: {len(methods)} methods on {len(keys)} tasks")
  family = facts.family
  measure = Measure(family.asked(form), clusters, family.metric.scale)
  found = scored([method for method, _ in methods], family, test, form, keys)
  by_name = {m.name: s for (m, _), s in zip(methods, found, strict=True)}
  lines = []
  for method, choice in methods:
    mine, settings, values = by_name[method.name], dict(method.settings), {}
    if choice.at_edge:
      settings["at_edge"] = choice.at_edge
    if method.name in generators:
      about, values = _about_generator(config, method.name, generators, form, test)
      settings |= about
    for other in pairs.get(method.name, ()):
      settings[f"minus_{other}"] = list(difference(mine, by_name[other], measure))
    lines.append(
      metric_line(
        facts,
        method.name,
        protocol,
        form,
        mine,
        by_name["generated"] if method.name != "generated" else None,
        measure,
        settings=settings,
        transductive=method.transductive,
        trials=choice.trials,
        **values,
      )
    )
  return lines


def _about_generator(
  config: Config, name: str, generators: dict[str, Tuned], form: Protocol, test: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Further settings of a generator, and further values of its lines."""
  (generator, seconds), choice = generators[name]
  weights = fit_to(generator, form, test).space.weights(form.ways)
  settings = {"rate_factor": choice.settings["rate_factor"], "weights": weights}
  if GENERATORS[name].algorithm == "query_loss":
    settings["finishing_temperature"] = config.finishing.temperature
  start = GENERATORS[name].starts_from
  if start and _same(generator, generators[start].trained.generator):
    settings["unchanged_start"] = True
  size = sum(leaf.size for leaf in jax.tree.leaves(generator.score))
  return settings, {"parameters": size, "budget_s": seconds}


def _same(a: Generator, b: Generator) -> bool:
  """Whether training changed nothing: the best on validation tasks was the start."""
  pairs = zip(*map(jax.tree.leaves, (a.score, b.score)), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)
