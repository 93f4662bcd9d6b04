"""Evaluation on whole data sets: all classes at once, or some, n labelled items of each."""

import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Array

from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation import Facts
from mcdi_jax.families import Features, TaskFamily
from mcdi_jax.generator.storage import load_generator
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import generated, tunable_about, unlabelled_centre
from mcdi_jax.methods.ridge import RIDGE
from mcdi_jax.methods.ridge_loo import RIDGE_LOO
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.controls import shuffled
from mcdi_jax.pipeline.evaluation import compare, methods_of
from mcdi_jax.pipeline.kept_scores import KeptScores
from mcdi_jax.pipeline.targets import asked_of, fewer_of_many_ways
from mcdi_jax.pipeline.timings import latencies
from mcdi_jax.pipeline.tuning import UNTUNED, Methods, Tuned, tuned_baseline
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol

_OTHER_TASKS = 16  # whose supports stand in for a task's own


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
  supports; what is tuned is tuned on the source's validation classes, with as many shots if
  they have enough items. A control is the first generator with the support of another task
  of the target, where its classes have another order.

  Args:
    choices: the directory that tuned settings are kept in.
  """
  del source
  lines: list[dict[str, Any]] = []
  timing = config.evaluation.latency and facts.seed == config.seeds[0]
  timed: set[tuple[int, int]] = set()  # each form of task once, whatever it is of
  for name, test, form, tasks in asked_of(config, suite.tests, facts.family.most_ways):
    rows = _rows(config, facts, generators, form, suite, rivals, choices, test)
    control = shuffled(config, generators, form, test, _OTHER_TASKS), UNTUNED
    every = [*rows.made, *rows.fixed, *rows.made_about, *rows.fixed_about, control]
    own = dataclasses.replace(config.evaluation, tasks=tasks)
    call = (dataclasses.replace(config, evaluation=own), facts, every, generators, form)
    scored = KeptScores(choices / "scores")
    lines += compare(*call, name, test, None, rows.pairs, scored)
    if timing and form[:2] not in timed:
      timed.add(form[:2])
      found = [method for method, _ in (*rows.made, *rows.fixed)]
      lines += latencies(config, facts, found, generators, form, test)
  return lines


class _Rows(NamedTuple):
  """What is compared on one target.

  Attributes:
    made: generators, those that are there already included.
    fixed: rivals, which no seed changes.
    made_about, fixed_about: the same about the mean of the target's items.
  """

  made: Methods
  fixed: Methods
  made_about: Methods
  fixed_about: Methods

  @property
  def pairs(self) -> dict[str, list[str]]:
    """Each generator with each rival that knows as much of the target."""
    both = ((self.made, self.fixed), (self.made_about, self.fixed_about))
    return {m.name: [r.name for r, _ in fixed] for made, fixed in both for m, _ in made}


def _rows(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  form: Protocol,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
  test: ClassSet,
) -> _Rows:
  tuned = tuned_on(form, suite.val)
  tasks = fewer_of_many_ways(config.evaluation.tuning_tasks, tuned.ways)
  own = dataclasses.replace(config.evaluation, tuning_tasks=tasks)
  config = dataclasses.replace(config, evaluation=own)
  given = (tuned, suite, rivals, choices)
  methods = methods_of(config, facts.family, generators, *given)
  made = [(m, c) for m, c in methods if m.name in generators] + open_ready(config)
  fixed = [(m, c) for m, c in methods if m.name not in generators]
  origin = test.x.mean(0)
  made_about = [(unlabelled_centre(method, origin), choice) for method, choice in made]
  fixed_about = _ridge_about(config, facts.family, *given, origin)
  told = {} if tuned[:2] == form[:2] else {"tuned_on": f"{tuned.ways}w{tuned.shots}s"}
  fixed, fixed_about = (_telling(rows, told) for rows in (fixed, fixed_about))
  return _Rows(made, fixed, made_about, fixed_about)


def tuned_on(form: Protocol, val: ClassSet) -> Protocol:
  """As many validation classes and shots as the target has, or all classes there are, and
  half of the items of the smallest."""
  fewest = int(val.count.min())
  shots = min(form.shots, fewest // 2)
  return Protocol(min(form.ways, val.together), shots, min(form.queries, fewest - shots))


def _telling(rows: Methods, more: dict[str, Any]) -> Methods:
  """With more settings."""
  return [
    (method._replace(settings={**method.settings, **more}), choice)
    for method, choice in rows
  ]


def open_ready(config: Config) -> Methods:
  """The generators that are there already, as rows `ready NAME`."""
  found: Methods = []
  names = config.features.ready
  check(len(set(names)) == len(names), "config.features.ready", names, "name each once")
  for name in names:
    try:
      generator = load_generator(name)
    except MissingError as error:
      raise MissingError(f"config.features.ready: {error}") from None
    if not isinstance(generator.family, Features):
      raise InputError(
        f"config.features.ready: {name} makes weights of {generator.family.name}, not of "
        "heads on features: leave it out"
      )
    found.append((generated(f"ready {name}", generator, 0.0), UNTUNED))
  return found


def _ridge_about(
  config: Config,
  family: TaskFamily,
  form: Protocol,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
  origin: Array,
) -> Methods:
  """Ridge regression about the mean of a target's items, tuned about that of the validation
  items."""
  found: Methods = []
  for tunable in (RIDGE, RIDGE_LOO):
    at_val = tunable_about(tunable, suite.val.x.mean(0))
    call = (form, family, suite.val, rivals.given, choices)
    _, choice = tuned_baseline(config, at_val, *call)
    method = tunable_about(tunable, origin).make(choice.settings, rivals.given)
    found.append((method, choice))
  return found
