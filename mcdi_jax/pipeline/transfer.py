"""Evaluation on whole data sets: all classes at once, n labelled items of each."""

import dataclasses
from typing import Any

from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation import Facts
from mcdi_jax.families import Features
from mcdi_jax.generator.storage import load_generator
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import generated, unlabelled_centre
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.evaluation import (
  UNTUNED,
  Methods,
  compare,
  latencies,
  methods_of,
  shuffled,
)
from mcdi_jax.pipeline.kept_scores import KeptScores
from mcdi_jax.pipeline.tuning import Tuned
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol

_OTHER_TASKS = 16  # whose supports stand in for a task's own
_LEAST_QUERIES = 20  # a class; with fewer a set is not tested with so many shots


def evaluate_transfer(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  source: TaskSource,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
) -> list[dict[str, Any]]:
  """The lines of one seed: each target with each number of shots. All methods get the same
  supports; what is tuned is tuned on the source's validation classes, with as many shots
  and as many classes as the target has, or all there are. A control is the first generator
  with the support of another task of the target, where its classes have another order.

  Args:
    choices: the directory that tuned settings are kept in.
  """
  del source
  lines: list[dict[str, Any]] = []
  settings, ready = config.features, _ready(config)
  timed = config.evaluation.latency and facts.seed == config.seeds[0]
  for shots, supports in zip(settings.shots, settings.supports, strict=True):
    for name, test in suite.tests.items():
      form = _form(config, test, shots)
      if form is None:
        CONSOLE.print(f"{name}: too few items a class for {shots} shots")
        continue
      tuned = Protocol(
        min(form.ways, suite.val.together),
        shots,
        min(form.queries, int(suite.val.count.min()) - shots),
      )
      given = (config, facts.family, generators, tuned, suite, rivals, choices)
      methods = methods_of(*given)
      made = [*generators, *(method.name for method, _ in ready)]
      others = [method.name for method, _ in methods if method.name not in generators]
      methods += ready
      pairs = dict.fromkeys(made, others)
      own = dataclasses.replace(config.evaluation, tasks=supports)
      control = shuffled(config, generators, form, test, _OTHER_TASKS), UNTUNED
      rows = [*methods, *_with_unlabelled(methods, made, test), control]
      call = (dataclasses.replace(config, evaluation=own), facts, rows, generators, form)
      same = {m.name for m, _ in rows if not m.name.startswith((*generators, "shuffled"))}
      scored = KeptScores(choices / "scores", same)
      lines += compare(*call, name, test, None, pairs, scored)
      if timed and name == next(iter(suite.tests)):
        lines += latencies(config, facts, [m for m, _ in methods], generators, form, test)
  return lines


def _ready(config: Config) -> Methods:
  """The generators that are there already, called by the last part of their names."""
  found: Methods = []
  for name in config.features.ready:
    generator = load_generator(name)
    if not isinstance(generator.family, Features):
      raise InputError(
        f"config.features.ready: {name} makes weights of {generator.family.name}, not of "
        "heads on features: leave it out"
      )
    row = generated(f"ready {files.as_path(name).name}", generator, 0.0)
    found.append((row, UNTUNED))
  return found


def _with_unlabelled(methods: Methods, generators: list[str], test: ClassSet) -> Methods:
  """Generators and ridge again, about the mean of the target's items instead of 0."""
  again = {*generators, "ridge", "ridge_loo"}
  origin = test.x.mean(0)
  return [(unlabelled_centre(m, origin), c) for m, c in methods if m.name in again]


def _form(config: Config, test: ClassSet, shots: int) -> Protocol | None:
  """All classes; as many queries of each as the smallest has left, at most the setting."""
  left = int(test.count.min()) - shots
  if left < min(_LEAST_QUERIES, config.evaluation.queries):
    return None
  return Protocol(test.classes, shots, min(config.evaluation.queries, left))
