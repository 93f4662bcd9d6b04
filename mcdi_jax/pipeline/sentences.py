"""Sentences: low-rank adapters and heads of a sentence encoder, tested on tasks that are
held out."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet
from mcdi_jax.data.class_set import from_labels
from mcdi_jax.data.text_tasks import TextTask, read_text_tasks
from mcdi_jax.data.tokenizer import Tokenizer, check_tokens, open_tokenizer
from mcdi_jax.encoders.bert import BertConfig, read_bert
from mcdi_jax.families import Sentences, family_to_json
from mcdi_jax.families.sentences import FILLED
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.methods import Known, LogUniform, descent
from mcdi_jax.networks import Params
from mcdi_jax.pipeline.adapters import adapter_examples, check_unused, evaluate_adapters
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.use import Prepared, Rivals, Stage, Suite, Use
from mcdi_jax.tasks import check_protocol

_RATES = {"rate": LogUniform(1e-4, 0.1), "epsilon": LogUniform(1e-8, 1e-2)}
_ABOUT = 512  # texts that tell what features are usual


class SentenceSets(NamedTuple):
  """Tasks as token sets.

  Attributes:
    train, val: of several tasks each, which are their groups.
    tests: by the name of the task.
    model, params: the encoder.
    name, digest, classes: as a `Use` has them.
  """

  train: ClassSet
  val: ClassSet
  tests: dict[str, ClassSet]
  model: BertConfig
  params: Params
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...]


def load_sentences(config: Config) -> SentenceSets:
  """Tasks that are neither held out nor for validation are trained on."""
  asked = config.sentences
  model, params = read_bert(asked.base, setting="config.sentences.base")
  most, length = model.most - model.first, asked.length
  remedy = f"the encoder sees {most} tokens, lower it"
  check(length <= most, "config.sentences.length", length, remedy)
  found = read_text_tasks(config.data.path, setting="config.data.path")
  for name in ("held_out", "validation"):
    where, given = f"config.sentences.{name}", getattr(asked, name)
    remedy = f"name some of the data's tasks {[*found]}"
    check(bool(given) and {*given} <= {*found}, where, given, remedy)
  named = {*asked.held_out, *asked.validation}
  rest = [task for task in found if task not in named]
  if not rest:
    raise InputError(
      f"{config.data.path} has no task but {sorted(named)}: leave one of them out of "
      "config.sentences.held_out and validation"
    )
  tokens = _tokens(open_tokenizer(asked.base, length), found)
  check_tokens([*tokens.values()], model.vocabulary, asked.base)
  content = hashlib.sha256(repr((rest, asked.validation, asked.held_out)).encode())
  sets = {}
  for task, own in found.items():
    sets[task] = from_labels(tokens[task], own.labels)
    content.update(repr((task, own.classes)).encode() + sets[task].x.tobytes())
    content.update(own.labels.tobytes())
  for leaf in jax.tree.leaves(params):
    content.update(np.asarray(leaf).tobytes())
  groups = (rest, asked.validation, asked.held_out)
  classes = tuple(
    tuple(f"{task}/{label}" for task in tasks for label in found[task].classes)
    for tasks in groups
  )
  train, val = (_together([sets[task] for task in tasks]) for tasks in groups[:2])
  tests = {task: sets[task] for task in asked.held_out}
  name = str(config.data.path).rsplit("/", 1)[-1].split(".")[0]
  return SentenceSets(train, val, tests, model, params, name, content.hexdigest(), classes)


def _tokens(tokenizer: Tokenizer, tasks: dict[str, TextTask]) -> dict[str, np.ndarray]:
  """Of each task int32 [n, t], filled up. All at once: what is cut is said once."""
  rows = tokenizer([text for task in tasks.values() for text in task.texts])
  ids = np.full((len(rows), tokenizer.most), FILLED, np.int32)
  for n, row in enumerate(rows):
    ids[n, : len(row)] = row
  ends = np.cumsum([len(task.texts) for task in tasks.values()])
  return dict(zip(tasks, np.split(ids, ends[:-1]), strict=True))


def _together(sets: Sequence[ClassSet]) -> ClassSet:
  """Their classes, each set a group."""
  sizes = [own.classes for own in sets]
  labels = [_labels(own) + first for own, first in zip(sets, _firsts(sizes), strict=True)]
  joined = from_labels(np.concatenate([own.x for own in sets]), np.concatenate(labels))
  return joined._replace(group=np.repeat(np.arange(len(sets)), sizes))


def _firsts(sizes: list[int]) -> np.ndarray:
  return np.cumsum([0, *sizes[:-1]])


def _labels(items: ClassSet) -> np.ndarray:
  found = np.empty(len(items.x), np.int64)
  for c, (row, count) in enumerate(zip(items.index, items.count, strict=True)):
    found[row[:count]] = c
  return found


def check_sentences(config: Config, sets: SentenceSets) -> None:
  most = max(config.preparation.queries, config.finishing.queries)
  for form in config.forms:
    check_protocol(sets.val, form, "val")
    check_protocol(sets.train, form._replace(queries=most), "train")
  check_unused(config, Sentences.name)
  noise, remedy = config.finishing.feature_noise, "tokens have none, set it to 0"
  check(not noise, "config.finishing.feature_noise", noise, remedy)
  given, remedy = config.features.targets, "config.sentences.held_out names them, leave out"
  check(not given, "config.features.targets", given, remedy)
  network, remedy = config.score.network, "this network reads heads alone, choose 'tokens'"
  check(network == "tokens", "config.score.network", network, remedy)
  check_family_has(config, _family(config, sets))


def _family(config: Config, sets: SentenceSets) -> Sentences:
  names = ("rank", "adapted", "length", "closed_form")
  numbers = {name: getattr(config.sentences, name) for name in names}
  forms = {"ways": config.meta.ways, "shots": config.meta.shots}
  return Sentences(model=sets.model, most_items=config.meta.most_items, **numbers, **forms)


def prepare_sentences(
  config: Config, sets: SentenceSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """One encoder and one A for all seeds."""
  del seed, workdir
  family, own = _family(config, sets), config.preparation.seed
  on_device = lambda items: jax.tree.map(jnp.asarray, items)  # noqa: E731
  train, val = on_device(sets.train), on_device(sets.val)
  tests = {name: on_device(items) for name, items in sets.tests.items()}
  with timed("features"):
    frozen = family.frozen(sets.params, key_for(own, "adapters"))
    some = train.x[:: max(1, len(train.x) // _ABOUT)]
    frozen = jax.jit(family.about)(frozen, some)
  return Prepared(
    family,
    frozen,
    content_hash({"data": sets.digest, "seed": own, "family": family_to_json(family)}),
    None,
    Suite(train, val, tests, shown=next(iter(tests.values()))),
    family.versions(train),
    {"data": sets.name},
  )


def sentence_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Descent on the same weights from θ_0; heads on the encoder as it is are beside it."""
  descents = [descent(n, _RATES) for n in config.evaluation.descent_steps]
  return Rivals(tuple(descents), Known(prepared.family, prepared.frozen), ())


SENTENCES_USE = Use(
  load_sentences,
  check_sentences,
  prepare_sentences,
  sentence_rivals,
  adapter_examples,
  evaluate_adapters,
)
