"""Rows that tell whether a generator reads its condition."""

import functools
from typing import Any

import jax

from mcdi_jax.evaluation import draw_task
from mcdi_jax.families import TaskFamily
from mcdi_jax.lib.keys import key_for
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import (
  Known,
  Method,
  generated_without,
  mean_of_bank,
  nearest_of_bank,
  shuffled_condition,
)
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.pipeline.tuning import UNTUNED, Methods, Tuned
from mcdi_jax.pipeline.use import Suite
from mcdi_jax.preparation import Bank, support_key
from mcdi_jax.preparation.bank import task_key
from mcdi_jax.tasks import Protocol, Support

_OTHER_TASKS = 64  # whose supports stand in for a task's own
_MOST_OF_BANK = 4096  # tasks, among which the nearest is looked for


def controls_of(
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
  test = next(iter(suite.tests.values()))
  bank = bank_of(source, number, form, family)
  supports = kept_supports(source, bank, number, form, family)
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
  return drawn_supports(jax.random.split(key, number), test, family, form)


@functools.partial(jax.jit, static_argnames=("family", "form"))
def drawn_supports(keys: Any, items: Any, family: TaskFamily, form: Protocol) -> Support:
  return jax.lax.map(lambda k: draw_task(k, family, items, form)[0].support, keys)


def bank_of(source: TaskSource, number: int, form: Protocol, family: TaskFamily) -> Bank:
  """The first tasks of a form's bank, without what only fills up the arrays."""
  first = int(source.first[number])
  stop = first + min(int(source.count[number]), _MOST_OF_BANK)
  return family.unpadded(jax.tree.map(lambda leaf: leaf[first:stop], source.bank), form)


def kept_supports(
  source: TaskSource, bank: Bank, number: int, form: Protocol, family: TaskFamily
) -> Support:
  """Those that the tasks of `bank_of` were prepared with, leading axis of tasks."""
  first = int(source.first[number])
  numbers = source.number[first : first + bank.size]

  def one(task: Any, number: Any) -> Support:
    key = support_key(task_key(source.key, number))
    return family.support(key, source.items, task, form.shots)

  return jax.lax.map(lambda both: one(*both), (bank.tasks, numbers))
