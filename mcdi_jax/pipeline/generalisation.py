"""Evaluation on a domain that is left out: what the sources' items make of a classifier.

Settings are chosen as Gulrajani & Lopez-Paz (2021) do: on items of the source domains that
no method was given (`NAME`); by leaving each source domain out in turn (`NAME_across`); on
the target itself (`NAME_oracle`), which no user could do.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation import Facts, Scores
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import RIDGE, Method, Statistics, Tunable, draw_settings, generated
from mcdi_jax.methods.alignment import ALIGNMENTS, Map
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.evaluation import compare, latencies
from mcdi_jax.pipeline.transfer import open_ready
from mcdi_jax.pipeline.tuning import Choice, Tuned, best_of, once
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol, Support

_AVERAGED = ("ridge_loo",)  # rivals that get the generators' supports, too
_ACROSS = (RIDGE.name,)  # rivals in closed form, which cost little to choose so
_ORACLES = ("logistic", "ridge")


class Sources(NamedTuple):
  """Items of the source domains, a class for each pair of domain and class: those that
  methods are given, and those that settings are chosen on."""

  train: ClassSet
  val: ClassSet


class Row(NamedTuple):
  """A method; the logits of what it makes of each support are averaged."""

  method: Method
  choice: Choice
  supports: Sequence[Support]


def evaluate_domains(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  source: Any,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
) -> list[dict[str, Any]]:
  """The lines of one seed: the target's items, labelled by what the sources made; and then
  half of them by what the sources and the other half without labels made, under a
  protocol of its own. Intervals are over items, and over the classes.

  Args:
    choices: the directory that tuned settings are kept in.
  """
  del source
  [(protocol, target)] = suite.tests.items()
  sources, given = Sources(suite.query_train, suite.val), (config, facts.seed, generators)
  rows = _rows(*given, sources, rivals, choices, "", target)
  lines = _lines(config, facts, generators, suite, protocol, rows, target)
  unlabelled, scored = _halves(target, facts.seed)
  rows = [row for row in rows if not row.method.name.endswith("_oracle")]
  for name, align in ALIGNMENTS.items():
    aligned = _aligned(sources, align, unlabelled)
    known = Statistics(rivals.given.none, -pooled(aligned.train).x.mean(0))
    own = rivals._replace(given=known)
    rows += _rows(*given, aligned, own, choices, f"_{name}", None)
  protocol = f"{protocol}-transductive"
  lines += _lines(config, facts, generators, suite, protocol, rows, scored)
  if config.evaluation.latency and facts.seed == config.seeds[0]:
    found = [row.method for row in rows if len(row.supports) == 1]
    found = [method for method in found if not method.transductive]
    lines += latencies(config, facts, found, generators, config.forms[-1], suite.val)
  return lines


def _lines(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  suite: Suite,
  protocol: str,
  rows: list[Row],
  target: Support,
) -> list[dict[str, Any]]:
  """Each generator is paired with each rival; a task is an item."""
  support, truth = rows[0].supports[0], np.asarray(target.y)
  ways = int(support.y.max()) + 1
  form = Protocol(ways, int(np.bincount(np.asarray(support.y)).min()), 1)
  own = [row.method.name for row in rows if row.method.name.startswith("generated")]
  others = [row.method.name for row in rows if row.method.name not in own]
  key = key_for(config.evaluation.eval_seed, "methods")

  def scored(*_: Any) -> list[Scores]:
    found = []
    for row in rows:
      logits = [_outputs(row.method, s, target.x, ways, key) for s in row.supports]
      right = np.mean(logits, 0).argmax(-1) == truth
      found.append(Scores(right[:, None].astype(int), truth[:, None]))
    return found

  methods = [(row.method, row.choice) for row in rows]
  call = (config, facts, methods, generators, form, protocol, suite.query_train)
  return compare(*call, None, dict.fromkeys(own, others), scored)


def _outputs(
  method: Method, support: Support, x: Float[Array, "m D"], ways: int, key: Any
) -> np.ndarray:
  functions = (method.adapt, method.predict)
  return np.asarray(_adapted(method.variables, support, x, key, functions, ways))


@functools.partial(jax.jit, static_argnames=("functions", "ways"))
def _adapted(
  variables: Any, support: Support, x: Array, key: Any, functions: Any, ways: int
) -> Array:
  adapt, predict = functions
  return predict(variables, adapt(variables, support, key, ways), x)


def _rows(
  config: Config,
  seed: int,
  generators: dict[str, Tuned],
  sources: Sources,
  rivals: Rivals,
  choices: Path,
  suffix: str,
  oracle: Support | None,
) -> list[Row]:
  """All methods on these items of the sources.

  Args:
    suffix: of the names, if the items are aligned with the target's.
    oracle: the target; None: there are no rows that are chosen on it.
  """
  whole, few = [pooled(sources.train)], _members(config, sources.train, seed)
  found = [
    Row(generated(name, trained.generator, choice.settings["temperature"]), choice, whole)
    for name, (trained, choice) in generators.items()
  ]
  found += [Row(method, choice, whole) for method, choice in open_ready(config)]
  averaged = list(found)
  for tunable in rivals.tunable:
    rows = _chosen(config, tunable, sources, rivals.given, choices, oracle)
    found += rows
    averaged += [row for row in rows if row.method.name in _AVERAGED]
  if few:
    found += [
      row._replace(method=_named(row.method, f"{row.method.name}_averaged"), supports=few)
      for row in averaged
    ]
  aligned = bool(suffix)
  name = lambda row: _named(row.method, row.method.name + suffix, aligned)  # noqa: E731
  items = lambda row: [len(s.y) for s in row.supports]  # noqa: E731
  told = lambda row: {**row.method.settings, "items": items(row)}  # noqa: E731
  return [row._replace(method=name(row)._replace(settings=told(row))) for row in found]


def _named(method: Method, name: str, transductive: bool = False) -> Method:
  return method._replace(name=name, transductive=transductive)


def _chosen(
  config: Config,
  tunable: Tunable,
  sources: Sources,
  known: Statistics,
  choices: Path,
  oracle: Support | None,
) -> list[Row]:
  """A row for each way to choose settings, the same trials in all. What is chosen for the
  items as they are serves aligned ones, too."""
  tried = draw_settings(tunable.space, config.evaluation.trials)
  methods = [tunable.make(settings, known) for settings in tried]
  support, name = pooled(sources.train), tunable.name

  def row(called: str, where: str, qualities: Any) -> Row:
    title = f"{called}, by {where}"
    make = lambda: best_of(title, tunable.space, tried, qualities())  # noqa: E731
    choice = once(choices / f"{called}.json", make)
    method = _named(tunable.make(choice.settings, known), called)
    told = {**method.settings, "chosen_by": where}
    return Row(method._replace(settings=told), choice, [support])

  on = functools.partial(_qualities, methods)
  held = _by_domain(sources.val)
  rows = [row(name, "items of the sources", lambda: on(support, held))]
  if name in _ACROSS and len(held) > 1:
    rows.append(
      row(f"{name}_across", "a source left out", lambda: _across(methods, sources))
    )
  if oracle is not None and name in _ORACLES:
    rows.append(row(f"{name}_oracle", "the target", lambda: on(support, [oracle])))
  return rows


def _qualities(
  methods: list[Method], support: Support, held: list[Support]
) -> Float[np.ndarray, " n"]:
  """Accuracy in percent of each method, the mean over held-out sets."""
  CONSOLE.print(f"{methods[0].name}: {len(methods)} settings, {len(support.y)} items")
  ways, key = int(np.max(support.y)) + 1, jax.random.key(0)
  x = jnp.concatenate([items.x for items in held])
  stops = np.cumsum([len(items.y) for items in held])[:-1]
  found = []
  for method in methods:
    parts = np.split(_outputs(method, support, x, ways, key).argmax(-1), stops)
    each = [np.mean(p == np.asarray(s.y)) for p, s in zip(parts, held, strict=True)]
    found.append(100 * np.mean(each))
  return np.asarray(found)


def _across(methods: list[Method], sources: Sources) -> Float[np.ndarray, " n"]:
  """The mean over source domains, each left out in turn."""
  groups = np.unique(np.asarray(sources.train.group))
  parts = [
    _qualities(
      methods,
      pooled(sources.train, groups[groups != group]),
      [pooled(items, [group]) for items in sources],
    )
    for group in groups
  ]
  return np.mean(parts, 0)


def pooled(items: ClassSet, groups: Any = None) -> Support:
  """All items of these groups (None: of all), under the classes that they share."""
  rows = np.arange(items.classes)
  if groups is not None:
    rows = rows[np.isin(np.asarray(items.group), groups)]
  return _support(items, rows, _places(items, rows))


def _by_domain(items: ClassSet) -> list[Support]:
  return [pooled(items, [group]) for group in np.unique(np.asarray(items.group))]


def _members(config: Config, items: ClassSet, seed: int) -> list[Support]:
  """So many supports of a few items of each class and domain; where a class is at its end,
  it begins anew."""
  asked, rng = config.domains, np.random.default_rng([seed, 2])
  rows = np.arange(items.classes)
  orders = [rng.permutation(own) for own in _places(items, rows)]
  take = lambda own, n: own[(n * asked.shots + np.arange(asked.shots)) % len(own)]  # noqa: E731
  members = ([take(own, n) for own in orders] for n in range(asked.members))
  return [_support(items, rows, places) for places in members]


def _places(items: ClassSet, rows: np.ndarray) -> list[np.ndarray]:
  """Of the items of each of these rows in `items.x`."""
  index, count = np.asarray(items.index), np.asarray(items.count)
  return [index[row][: count[row]] for row in rows]


def _support(items: ClassSet, rows: np.ndarray, places: list[np.ndarray]) -> Support:
  """x [n, D] and y [n] of the items in some places of each of these rows."""
  # Of each class the place in the first domain, where classes are in their order.
  kinds = np.asarray(items.twins)[rows, 0]
  y = np.repeat(kinds, [len(own) for own in places])
  return Support(items.x[np.concatenate(places)], jnp.asarray(y, jnp.int32))


def _halves(target: Support, seed: int) -> tuple[Array, Support]:
  """Features of half of the items, drawn whatever their labels, and the other half."""
  order = np.random.default_rng([seed, 1]).permutation(len(target.y))
  half = len(order) // 2
  scored = Support(target.x[order[half:]], target.y[order[half:]])
  return target.x[order[:half]], scored


def _aligned(
  sources: Sources, align: Callable[[Array, Array], Map], unlabelled: Array
) -> Sources:
  """Each domain by the map of its own training items."""
  groups, parts = np.asarray(sources.train.group), [np.array(s.x) for s in sources]
  for group in np.unique(groups):
    mapped = align(pooled(sources.train, [group]).x, unlabelled)
    for items, x in zip(sources, parts, strict=True):
      rows = np.flatnonzero(np.asarray(items.group) == group)
      own = np.concatenate(_places(items, rows))
      x[own] = mapped(jnp.asarray(x[own]))
  pairs = zip(sources, parts, strict=True)
  return Sources(*(items._replace(x=jnp.asarray(x)) for items, x in pairs))
