"""What a config asks of a family, checked before any work is done, on shapes alone."""

import fnmatch
from typing import Any

import jax

from mcdi_jax.families import TaskFamily
from mcdi_jax.families.checks import check_cuts, check_layers
from mcdi_jax.lib.config import check
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.tasks import Form
from mcdi_jax.weights import leaves_by_path
from mcdi_jax.weights.symmetry import check_hidden


def check_family_has(config: Config, family: TaskFamily) -> None:
  """The bases, the starts of descent, the leaves, the facts and the layers that settings
  name.

  Raises:
    InputError: the family has no such thing, or its `cuts` leave leaves of the params out.
  """
  _check_bases(config, family)
  shapes = _shapes(family)
  check_cuts(family, shapes)
  for pattern in config.evaluation.without:
    fits = any(fnmatch.fnmatchcase(path, pattern) for path in leaves_by_path(shapes))
    remedy = f"it fits no leaf, there are {sorted(leaves_by_path(shapes))}"
    check(fits, "config.evaluation.without", pattern, remedy)
  power, setting = config.finishing.feature_power, "config.finishing.feature_power"
  varies = type(family).varied is not TaskFamily.varied
  remedy = f"{family.name} have no features that vary, set it to 1"
  check(power == 1 or varies, setting, power, remedy)
  told, has = config.score.facts, type(family).facts is not TaskFamily.facts
  remedy = f"{family.name} have none, set it to False"
  check(has or not told, "config.score.facts", told, remedy)
  if config.align:
    remedy = f"{family.name} name no hidden layers, set it to False"
    check(bool(family.hidden_layers), "config.align", config.align, remedy)
    for hidden in family.hidden_layers:
      check_hidden(hidden, leaves_by_path(shapes))
  if config.precondition:
    remedy = f"{family.name} name no layers, set it to 0"
    check(bool(family.layers), "config.precondition", config.precondition, remedy)
    check_layers(family, shapes)


def _check_bases(config: Config, family: TaskFamily) -> None:
  bases = family.bases
  remedy = f"{family.name} have the bases {list(bases)}"
  check(config.base in bases, "config.base", config.base, remedy)
  if any(GENERATORS[name].delta for name in config.generators):
    check(config.delta_base in bases, "config.delta_base", config.delta_base, remedy)
  starts = config.evaluation.refine_from if config.evaluation.refine_steps else ()
  remedy = f"{remedy}, the run the generators {list(config.generators)}"
  known = set(starts) <= {*config.generators, *bases} - {"none"}
  check(known, "config.evaluation.refine_from", starts, remedy)
  without, remedy = config.evaluation.without, "config.base is 'none', choose 'init'"
  there = not without or config.base != "none"
  check(there, "config.evaluation.without", without, remedy)


def _shapes(family: TaskFamily) -> Any:
  """Of the params of one task."""
  ways = max(2, family.largest.ways) if family.classifies else 1

  def params(key: Any) -> Any:
    frozen = family.init_frozen(key)
    support = family.example(Form(ways, 1))
    return family.init(frozen, key, family.embed(frozen, support.x), ways)

  return jax.eval_shape(params, jax.random.key(0))
