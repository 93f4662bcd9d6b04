"""All methods on the same test tasks, and how long each takes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import DataConfig
from mcdi_jax.evaluation import (
  Facts,
  Measure,
  Scores,
  Timing,
  batches,
  difference,
  draw_task,
  latency_line,
  metric_line,
  noise_like,
  score,
  task_keys,
  time_generation,
  time_methods,
  with_share_of_peak,
)
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator
from mcdi_jax.generator.storage import fingerprint, load_generator
from mcdi_jax.lib import files, provenance
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import (
  Known,
  Method,
  generated,
  generated_without,
  iterated,
  mean_of_bank,
  nearest_of_bank,
  refined,
  shuffled_condition,
)
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.pipeline.spread import sample_rows
from mcdi_jax.pipeline.tuning import Choice, Tuned, tuned_baseline
from mcdi_jax.pipeline.use import Prepared, Rivals, Suite
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Form, Protocol, Support

UNTUNED = Choice({}, 1, [], None)
_OTHER_TASKS = 64  # whose supports stand in for a task's own
_MOST_OF_BANK = 4096  # tasks, among which the nearest is looked for
Methods = list[tuple[Method, Choice]]


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
  for number, form in enumerate(config.forms):
    methods = methods_of(config, facts.family, generators, form, suite, rivals, choices)
    controls = _controls(config, generators, source, number, form, suite)
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
      lines += compare(*call, suite.clusters, pairs)
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
  return [
    iterated(name, trained.generator, choice.settings["temperature"], passes)
    for name, (trained, choice) in generators.items()
    if GENERATORS[name].iterated
    for passes in range(2, config.finishing.passes + 1)
  ]


def _controls(
  config: Config,
  generators: dict[str, Tuned],
  source: TaskSource,
  number: int,
  form: Protocol,
  suite: Suite,
) -> Methods:
  """What a generator that does not read its condition would reach; of those that are
  trained on the query loss each by itself."""
  (generator, _), choice = next(iter(generators.values()))
  family, known = generator.family, Known(generator.family, generator.frozen)
  key = key_for(config.evaluation.eval_seed, "other tasks")
  test = next(iter(suite.tests.values()))
  bank = bank_of(source, number, form, family)
  supports = _supports_of(bank, family, suite.train, form, key)
  temperature = choice.settings["temperature"]
  others = other_supports(config, generators, form, test, _OTHER_TASKS)
  found = (
    shuffled(config, generators, form, test, _OTHER_TASKS),
    *(
      shuffled_condition(own.generator, tau.settings["temperature"], others)._replace(
        name=f"shuffled_{name}"
      )
      for name, (own, tau) in generators.items()
      if GENERATORS[name].algorithm == "query_loss"
    ),
    mean_of_bank(known, bank),
    nearest_of_bank(known, bank, supports, form.ways),
  )
  without = (
    generated_without(generator, temperature, pattern)
    for pattern in config.evaluation.without
  )
  return [(method, UNTUNED) for method in (*found, *without)]


def shuffled(
  config: Config, generators: dict[str, Tuned], form: Protocol, test: Any, number: int
) -> Method:
  """The first generator, with the support of one of so many other test tasks."""
  (generator, _), choice = next(iter(generators.values()))
  others = other_supports(config, generators, form, test, number)
  return shuffled_condition(generator, choice.settings["temperature"], others)


def other_supports(
  config: Config, generators: dict[str, Tuned], form: Protocol, test: Any, number: int
) -> Support:
  """Of so many test tasks, leading axis of tasks."""
  family = next(iter(generators.values())).trained.generator.family
  key = key_for(config.evaluation.eval_seed, "other tasks")
  return _drawn_supports(jax.random.split(key, number), test, family, form)


@functools.partial(jax.jit, static_argnames=("family", "form"))
def _drawn_supports(keys: Any, items: Any, family: TaskFamily, form: Protocol) -> Support:
  return jax.lax.map(lambda k: draw_task(k, family, items, form)[0].support, keys)


def bank_of(source: TaskSource, number: int, form: Protocol, family: TaskFamily) -> Bank:
  """The first tasks of a form's bank, without what only fills up the arrays."""
  first = int(source.first[number])
  stop = first + min(int(source.count[number]), _MOST_OF_BANK)
  return family.unpadded(jax.tree.map(lambda leaf: leaf[first:stop], source.bank), form)


def _supports_of(
  bank: Bank, family: TaskFamily, items: Any, form: Protocol, key: Any
) -> Support:
  draw = lambda task: family.support(key, items, task, form.shots)  # noqa: E731
  return jax.lax.map(draw, bank.tasks)


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
  weights = _fit_to(generator, form, test).space.weights(form.ways)
  settings = {"rate_factor": choice.settings["rate_factor"], "weights": weights}
  if GENERATORS[name].algorithm == "query_loss":
    settings["finishing_temperature"] = config.finishing.temperature
  start = GENERATORS[name].starts_from
  if start and _same(generator, generators[start].trained.generator):
    settings["unchanged_start"] = True
  size = sum(leaf.size for leaf in jax.tree.leaves(generator.score))
  return settings, {"parameters": size, "budget_s": seconds}


def _fit_to(generator: Generator, form: Protocol, test: Any) -> Generator:
  """For items of the shape of the test's, where it was trained on others."""
  least = form._replace(shots=1, queries=1)
  draw = lambda key, test: draw_task(key, generator.family, test, least)[0]  # noqa: E731
  shape = jax.eval_shape(draw, jax.random.key(0), test)
  return generator.of_items(shape.support.x.shape[1:])


def _same(a: Generator, b: Generator) -> bool:
  """Whether training changed nothing: the best on validation tasks was the start."""
  pairs = zip(*map(jax.tree.leaves, (a.score, b.score)), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def latencies(
  config: Config,
  facts: Facts,
  methods: list[Method],
  generators: dict[str, Tuned],
  form: Protocol,
  test: Any,
) -> list[dict[str, Any]]:
  """Of every method from embedded items, one task and, where they are computed at once,
  many; of generators also from raw ones."""
  CONSOLE.print(f"{form}: timing {len(methods)} methods")
  sizes = batches(facts.family, provenance.platform_used())
  keys = task_keys(config.evaluation.eval_seed, max(sizes))
  supports = _drawn_supports(keys, test, facts.family, form)
  seconds = config.evaluation.latency_s / len(config.forms)
  timed = len(sizes) * len(methods)
  share = lambda number: seconds * number / (timed + 2 * len(generators))  # noqa: E731
  found = time_methods(methods, supports, form.ways, seconds=share(timed))
  for name, (trained, choice) in generators.items():
    temperature = choice.settings["temperature"]
    call = (name, _fit_to(trained.generator, form, test), form)
    found += time_generation(*call, seconds=share(2), temperature=temperature)
  return [latency_line(facts, form, timing) for timing in found]


def benchmark(generator: Generator, form: Protocol, *, seconds: float) -> list[Timing]:
  """Times a generator from embedded items and from raw ones, without any data."""
  method = generated("generated", generator, 0.0)
  sizes = batches(generator.family, provenance.platform_used())
  tasks = max(sizes)
  given = generator.family.example(Form(form.ways, form.shots))
  like = jax.eval_shape(generator.embed, given.x)
  several = jax.ShapeDtypeStruct((tasks, *like.shape), like.dtype)
  x = noise_like(several, jax.random.key(0))
  labels = jnp.broadcast_to(given.y, (tasks, *given.y.shape))
  supports = Support(x, labels)
  found = time_methods([method], supports, form.ways, seconds=seconds / 2)
  found = with_share_of_peak(found, generator, form)
  raw = {"seconds": seconds / 2, "batches": sizes}
  return found + time_generation(method.name, generator, form, **raw)


def result_facts(config: Config, data: Any, prepared: Prepared, seed: int) -> Facts:
  """What all of a seed's lines share; whence the images were read, and where files lie,
  is no part of the config's hash; the seed that settings were chosen with is."""
  content = DataConfig(path=data.digest, rotations=config.data.rotations)
  places: dict[str, Any] = {"backbone_dir": "", "bank_dir": ""}
  ready = tuple(fingerprint(load_generator(name)) for name in config.features.ready)
  places["features"] = dataclasses.replace(config.features, targets=(), ready=ready)
  if name := config.domains.adapters:
    inside = fingerprint(load_generator(name))
    places["domains"] = dataclasses.replace(config.domains, adapters=inside)
  if imported := config.imported_bank:
    manifest = files.read_json(files.as_path(imported) / "manifest.json", "hash")
    places["imported_bank"] = manifest["hash"]
  same = dataclasses.replace(config, data=content, seeds=(seed,), **places)
  return Facts(
    backbone=prepared.backbone,
    matmul_precision=config.matmul_precision,
    family=prepared.family,
    data=data.name,
    seed=seed,
    eval_seed=config.evaluation.eval_seed,
    config=content_hash({"config": same, "tuned_with": config.seeds[0]}),
  )
