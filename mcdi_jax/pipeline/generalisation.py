"""Evaluation on a domain that is left out: what the sources' items make of a classifier.

Settings are chosen as Gulrajani & Lopez-Paz (2021) do: on items of the source domains that
no method was given (`NAME`); by leaving each source domain out in turn (`NAME_across`); on
the target itself (`NAME_oracle`), which no user could do.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from mcdi_jax.data.class_set import to_unit
from mcdi_jax.evaluation import Facts, Scores
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import RIDGE, Method, Statistics, Tunable, draw_settings, generated
from mcdi_jax.methods.alignment import ALIGNMENTS
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.evaluation import compare
from mcdi_jax.pipeline.sources import (
  Sources,
  aligned,
  by_domain,
  halves,
  members,
  pooled,
)
from mcdi_jax.pipeline.timings import latencies
from mcdi_jax.pipeline.transfer import open_ready
from mcdi_jax.pipeline.tuning import UNTUNED, Choice, Tuned, best_of, once
from mcdi_jax.pipeline.use import Rivals, Suite
from mcdi_jax.tasks import Protocol, Support

_BATCH = 512  # items that are answered at once
_AVERAGED = ("prototypes", "ridge_loo")  # rivals that get the generators' supports, too
_ACROSS = (RIDGE.name,)  # rivals in closed form, which cost little to choose so
_ORACLES = ("logistic", "ridge")


class Row(NamedTuple):
  """A method; the logits of what it makes of each support are averaged.

  Attributes:
    inside: whether the supports are of images, as what it answers must be.
  """

  method: Method
  choice: Choice
  supports: Sequence[Support]
  inside: bool = False


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
  key = key_for(config.evaluation.eval_seed, "methods")
  lines_of = functools.partial(
    _lines, config, facts, generators, suite, np.asarray(target.y)
  )
  rows = _rows(*given, sources, rivals, choices, "", target)
  rows += _inside(config, facts.seed, suite)
  items = lambda row: jnp.asarray(suite.images.target) if row.inside else target.x  # noqa: E731
  answers = [_answers(row, items(row), key) for row in rows]
  lines = lines_of(protocol, rows, answers, slice(None))
  seen, scored = halves(len(target.y), facts.seed)
  for name, align in ALIGNMENTS.items():
    moved = aligned(sources, align, target.x[seen])
    known = Statistics(rivals.given.none, -pooled(moved.train).x.mean(0))
    own = rivals._replace(given=known)
    more = _rows(*given, moved, own, choices, f"_{name}", None)
    rows, answers = rows + more, answers + [_answers(row, target.x, key) for row in more]
  pairs = zip(rows, answers, strict=True)
  kept = [(row, own) for row, own in pairs if not row.method.name.endswith("_oracle")]
  rows, answers = (list(part) for part in zip(*kept, strict=True))
  lines += lines_of(f"{protocol}-transductive", rows, answers, scored)
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
  truth: np.ndarray,
  protocol: str,
  rows: list[Row],
  answers: list[np.ndarray],
  scored: Any,
) -> list[dict[str, Any]]:
  """Each generator is paired with each rival; a task is an item.

  Args:
    truth, answers: the labels of the target's items, and those that each row gives them.
    scored: which items count.
  """
  support, truth = rows[0].supports[0], truth[scored]
  form = Protocol(_ways(support), int(np.bincount(np.asarray(support.y)).min()), 1)
  right = [(own[scored] == truth)[:, None].astype(int) for own in answers]
  scores = [Scores(own, truth[:, None]) for own in right]
  made = (*generators, "ready ")
  own = [row.method.name for row in rows if row.method.name.startswith(made)]
  others = [row.method.name for row in rows if row.method.name not in own]
  methods = [(row.method, row.choice) for row in rows]
  call = (config, facts, methods, generators, form, protocol, suite.query_train)
  return compare(*call, None, dict.fromkeys(own, others), lambda *_: scores)


def _answers(row: Row, x: Shaped[Array, "m ..."], key: Any) -> np.ndarray:
  """[m] labels."""
  ways = _ways(row.supports[0])
  logits = [_outputs(row.method, support, x, ways, key) for support in row.supports]
  return np.mean(logits, 0).argmax(-1)


def _ways(support: Support) -> int:
  return int(np.max(support.y)) + 1


def _outputs(
  method: Method, support: Support, x: Shaped[Array, "m ..."], ways: int, key: Any
) -> np.ndarray:
  functions = (method.adapt, method.predict)
  return np.asarray(_adapted(method.variables, support, x, key, functions, ways))


@functools.partial(jax.jit, static_argnames=("functions", "ways"))
def _adapted(
  variables: Any, support: Support, x: Array, key: Any, functions: Any, ways: int
) -> Array:
  adapt, predict = functions
  adapted = adapt(variables, support, key, ways)
  one = lambda item: predict(variables, adapted, to_unit(item)[None])[0]  # noqa: E731
  return jax.lax.map(one, x, batch_size=_BATCH)


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
  whole, few = [pooled(sources.train)], members(sources.train, config.domains, seed)
  found = [
    Row(generated(name, trained.generator, choice.settings["temperature"]), choice, whole)
    for name, (trained, choice) in generators.items()
  ]
  found += [Row(method, choice, whole) for method, choice in open_ready(config)]
  control = [] if suffix else [_shuffled(found[0])]
  averaged = list(found)
  for tunable in rivals.tunable:
    rows = _chosen(config, tunable, sources, rivals.given, choices, suffix, oracle)
    found += rows
    averaged += [row for row in rows if row.method.name in _AVERAGED]
  if few:
    found += [
      row._replace(method=_named(row.method, f"{row.method.name}_averaged"), supports=few)
      for row in averaged
    ]
  found += control
  saw = bool(suffix)
  name = lambda row: _named(row.method, row.method.name + suffix, saw)  # noqa: E731
  items = lambda row: [len(s.y) for s in row.supports]  # noqa: E731
  told = lambda row: {**row.method.settings, "items": items(row)}  # noqa: E731
  return [row._replace(method=name(row)._replace(settings=told(row))) for row in found]


def _inside(config: Config, seed: int, suite: Suite) -> list[Row]:
  """The adapters that are made of each of the supports whose heads are averaged, too."""
  if suite.images is None or not config.domains.members:
    return []
  few = members(suite.images.train, config.domains, seed)
  few = [support._replace(x=to_unit(jnp.asarray(support.x))) for support in few]
  method = generated("ready adapters_averaged", suite.images.generator, 0.0)
  told = {**method.settings, "items": [len(support.y) for support in few]}
  return [Row(method._replace(settings=told), UNTUNED, few, inside=True)]


def _shuffled(row: Row) -> Row:
  """The generator with every label one further: there is no other task, and what does not
  read its condition does as well."""
  further = [s._replace(y=(s.y + 1) % _ways(s)) for s in row.supports]
  return row._replace(method=_named(row.method, "shuffled_condition"), supports=further)


def _named(method: Method, name: str, transductive: bool = False) -> Method:
  return method._replace(name=name, transductive=transductive)


def _chosen(
  config: Config,
  tunable: Tunable,
  sources: Sources,
  known: Statistics,
  choices: Path,
  suffix: str,
  oracle: Support | None,
) -> list[Row]:
  """A row for each way to choose settings, the same trials in all."""
  tried = draw_settings(tunable.space, config.evaluation.trials)
  methods = [tunable.make(settings, known) for settings in tried]
  support, name = pooled(sources.train), tunable.name

  def row(called: str, where: str, qualities: Any) -> Row:
    title = f"{called}{suffix}, by {where}"
    make = lambda: best_of(title, tunable.space, tried, qualities())  # noqa: E731
    choice = once(choices / f"{called}{suffix}.json", make)
    method = _named(tunable.make(choice.settings, known), called)
    told = {**method.settings, "chosen_by": where}
    return Row(method._replace(settings=told), choice, [support])

  on = functools.partial(_qualities, methods)
  held = by_domain(sources.val)
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
  ways, key = _ways(support), jax.random.key(0)
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
