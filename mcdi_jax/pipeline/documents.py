"""Documents: adapters of a language model, generated from how a document begins."""

import dataclasses
import fnmatch
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data.documents import SPLITS, near_duplicates, read_corpus, say_overlaps
from mcdi_jax.data.tokenizer import check_tokens, open_tokenizer
from mcdi_jax.families import DocumentItems, Documents, family_to_json
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, is_finished, load_tree, save_tree
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.loop import train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import (
  Known,
  LogUniform,
  Method,
  base_alone,
  best_of_sources,
  descent,
  in_context,
  source_adapters,
)
from mcdi_jax.networks import Params
from mcdi_jax.networks.language_training import language_training
from mcdi_jax.networks.llama import LlamaConfig
from mcdi_jax.networks.llama_checkpoint import read_llama, write_llama
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use, cache
from mcdi_jax.weights.leaves import leaves_by_path

_RATES = {  # as narrow as validation allows: of few trials more are then near the best
  "rate": LogUniform(7e-4, 0.04), "epsilon": LogUniform(1e-8, 1e-5), "decay": (False, True)
}  # fmt: skip
_LONGEST = 65_536  # tokens of a document: all are filled up to the longest


class DocumentSets(NamedTuple):
  """Documents as tokens, by split; the training documents in two halves.

  Attributes:
    base: the half that the model is trained on, whole.
    items: the other half (`train`), whole, and how those of the other splits begin.
    sources: names, by number.
    model, params: the language model as it was given.
    first: the token that begins a text.
    name, digest, classes: as a `Use` has them.
  """

  base: DocumentItems
  items: dict[str, DocumentItems]
  sources: tuple[str, ...]
  model: LlamaConfig
  params: Params
  first: int
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...] = ()


def load_documents(config: Config) -> DocumentSets:
  """Training documents that are near-duplicates of others' are left out, and each group of
  near-duplicates is in one half."""
  asked, source = config.documents, config.data.source
  texts, remedy = source in ("texts", "folder"), "give documents, with --data"
  check(texts, "config.data.source", source, remedy)
  files.given(config.data.path, "config.data.path")
  model, params = read_llama(asked.base, setting="config.documents.base")
  corpus = read_corpus(config.data.path)
  tokens = open_tokenizer(asked.base)(corpus.texts)
  check_tokens(tokens, model.vocabulary, asked.base)
  length = (config.meta.shots[0] + config.evaluation.queries) * asked.window
  whole = np.array([len(row) > length for row in tokens])
  if not whole.all():
    CONSOLE.print(
      f"{(~whole).sum()} of {len(tokens)} documents have fewer than {length} tokens: they "
      "are left out"
    )
  if cut := sum(len(row) > _LONGEST for row in tokens):
    CONSOLE.print(f"of {cut} documents the first {_LONGEST:,} tokens are used")
  kept = np.flatnonzero(whole).tolist()
  if not kept:
    raise _without(config, length, "any split")
  rows = [tokens[n][1 : _LONGEST + 1] for n in kept]
  split = np.array([SPLITS.index(corpus.splits[n]) for n in kept])
  sources = tuple(sorted(set(corpus.sources)))
  source = np.array([sources.index(corpus.sources[n]) for n in kept], np.int32)
  half, tokens_of = _halves(rows, split), np.array([*map(len, rows)], np.int32)
  used = np.where((split == 0) & (half < 0), -1, split)
  say_overlaps(rows, used, config.meta.shots[0] * asked.window, length)
  ids = np.zeros((len(rows), tokens_of.max()), np.int32)
  for n, row in enumerate(rows):
    ids[n, : len(row)] = row
  whole_of = lambda which: DocumentItems(  # noqa: E731
    ids[which], source[which], tokens_of[which], reach=length
  )
  begin_of = lambda which: DocumentItems(ids[which, :length], source[which])  # noqa: E731
  items = {"train": whole_of(half == 1)}
  items |= {name: begin_of(split == n) for n, name in enumerate(SPLITS) if n}
  base = whole_of(half == 0)
  for name, found in {"the model": base, **items}.items():
    if not len(found.ids):
      raise _without(config, length, name)
  content = hashlib.sha256(ids.tobytes() + split.tobytes() + source.tobytes())
  content.update(tokens_of.tobytes() + str(length).encode())
  for leaf in jax.tree.leaves(params):
    content.update(np.asarray(leaf).tobytes())
  first = _first(tokens, asked.base)
  known = (sources, model, params, first, corpus.name, content.hexdigest())
  return DocumentSets(base, items, *known)


def _first(tokens: Sequence[np.ndarray], base: str) -> int:
  found = {int(row[0]) for row in tokens if len(row)}
  if len(found) > 1:
    raise InputError(
      f"the tokenizer of config.documents.base {base} begins texts with no token of its "
      "own: bring a tokenizer.json whose post_processor does"
    )
  return found.pop()


def _without(config: Config, length: int, split: str) -> InputError:
  return InputError(
    f"{config.data.path} has no document of {length} tokens for {split}: bring more, or "
    "lower config.documents.window"
  )


def _halves(rows: list[np.ndarray], split: np.ndarray) -> np.ndarray:
  """int [n]; 0: for the base, 1: for the bank, −1: neither."""
  groups = near_duplicates(rows)
  elsewhere = set(groups[split > 0].tolist())
  own = np.array(sorted(set(groups[split == 0].tolist()) - elsewhere), int)
  order = np.random.default_rng(0).permutation(len(own))
  of_base = set(own[order[: len(own) // 2]].tolist())
  half = np.array([0 if g in of_base else 1 for g in groups])
  return np.where((split == 0) & np.isin(groups, own), half, -1)


def check_documents(config: Config, sets: DocumentSets) -> None:
  for name in ("ways", "shots"):
    value, remedy = getattr(config.meta, name), "a document is a task, give one number"
    check(len(value) == 1, f"config.meta.{name}", value, remedy)
  ways, remedy = config.meta.ways, "documents have no classes, set it to (1,)"
  check(ways == (1,), "config.meta.ways", ways, remedy)
  noise, remedy = config.finishing.feature_noise, "tokens have none, set it to 0"
  check(not noise, "config.finishing.feature_noise", noise, remedy)
  most = config.evaluation.queries
  for group in ("preparation", "finishing"):
    asked = getattr(config, group).queries
    remedy = f"documents have {most} windows after a support (config.evaluation.queries)"
    check(asked <= most, f"config.{group}.queries", asked, remedy)
  network, remedy = config.score.network, "this network reads heads, choose 'tokens'"
  check(network == "tokens", "config.score.network", network, remedy)
  adapted, remedy = config.documents.adapted, "such as blocks/*/[qkvogud]*"
  others = [path for path in leaves_by_path(sets.params) if not path.startswith("blocks/")]
  none = not fnmatch.filter(others, adapted)
  check(none, "config.documents.adapted", adapted, f"name matrices of blocks, {remedy}")
  need = config.documents.view + config.documents.window
  remedy = f"the model sees {sets.model.most} tokens, lower one of them"
  check(need <= sets.model.most, "config.documents.view + window", need, remedy)
  length, most = config.documents.training.length, int(sets.base.length.min())
  remedy = f"documents have {most} tokens, and the model sees {sets.model.most}"
  fits = 0 < length <= min(most, sets.model.most)
  check(fits, "config.documents.training.length", length, remedy)
  check_family_has(config, _family(config, sets))


def _family(config: Config, sets: DocumentSets) -> Documents:
  asked = config.documents
  names = ("rank", "adapted", "window", "adapt_a")
  numbers = {name: getattr(asked, name) for name in names} | {"first": sets.first}
  forms = {"ways": config.meta.ways, "shots": config.meta.shots}
  return Documents(model=sets.model, **numbers, **forms)


def prepare_documents(
  config: Config, sets: DocumentSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """One base for all seeds: the model, trained on its half of the documents; in the workdir
  also as a checkpoint that other tools load."""
  del seed
  family, own = _family(config, sets), config.preparation.seed
  content = {"data": sets.digest, "seed": own, "base": config.documents.training}
  content |= {"matmul_precision": config.matmul_precision}
  place = cache(config.backbone_dir, workdir / "backbone") / content_hash(content)[:16]
  with timed("base"), files.exclusive(place, wait=True):
    base = _trained(config, sets, family, place, workdir)
    write_llama(workdir / "base", sets.model, base, config.documents.base)
  frozen = family.frozen(base, key_for(own, "adapters"))
  digest = content_hash(content | {"family": family_to_json(family)})
  on_device = lambda name: jax.tree.map(jnp.asarray, sets.items[name])  # noqa: E731
  train, unseen = on_device("train"), "unseen_source"
  with timed("adapters of sources"), files.exclusive(place, wait=True):
    by_source = _of_sources(config, Known(family, frozen), train, place)
  val = [on_device(name) for name in ("val", f"val_{unseen}")]
  both = jax.tree.map(lambda *parts: jnp.concatenate(parts), *val)
  tests = {
    "documents-seen-sources": on_device("test"),
    "documents-unseen-sources": on_device(f"test_{unseen}"),
  }
  if view := config.documents.view:
    seen = {n: dataclasses.replace(items, view=view) for n, items in tests.items()}
    tests |= {f"{name}-in-view": items for name, items in seen.items()}
  about = {"data": sets.name}
  suite = Suite(train, both, tests)
  return Prepared(family, frozen, digest, None, suite, train, about, by_source)


def _trained(
  config: Config, sets: DocumentSets, family: Documents, place: Path, workdir: Path
) -> Params:
  """In numbers that half precision has, so that a checkpoint takes half of the room."""
  if is_finished(place / "base"):
    CONSOLE.print(f"base: found in {place}")
    return load_tree(place / "base", sets.params)
  asked = config.documents.training
  if not asked.steps:
    return sets.params
  names = ("steps", "rate", "batch", "length")
  numbers = {name: getattr(asked, name) for name in names}
  init, step = language_training(sets.model, **numbers, first=family.first)
  texts = jnp.asarray(sets.base.ids), jnp.asarray(sets.base.length)
  metrics = workdir / "metrics.jsonl"
  state = train(
    lambda state, key: step(state, key, *texts),
    init(sets.params),
    key_for(config.preparation.seed, "training of the base"),
    steps=asked.steps,
    title="base",
    write=lambda line: files.append_json(metrics, {"phase": "base", **line}),
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=asked.save_every,
    remedy="lower config.documents.training.rate and name another --workdir",
  )
  params = jax.tree.map(lambda leaf: jnp.float32(jnp.float16(leaf)), state.params)
  save_tree(place / "base", params)
  return params


def _of_sources(config: Config, known: Known, train: DocumentItems, place: Path) -> Params:
  """Kept beside the base: they are the same for all seeds."""
  form, rate = config.forms[0], config.preparation.rate
  key = key_for(config.preparation.seed, "adapters of sources")
  make = lambda: source_adapters(known, train, form, key, rate=rate)  # noqa: E731
  told = {"family": family_to_json(known.family), "form": form, "rate": rate}
  place = place / f"sources-{content_hash(told)[:16]}"
  if is_finished(place):
    return load_tree(place, jax.eval_shape(make))
  adapters = make()
  save_tree(place, adapters)
  return adapters


def document_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Gradient descent, the model with the support before it, the trained model without any
  adapter: `shared`, and an adapter of each training source."""
  known = Known(prepared.family, prepared.frozen)
  descents = [descent(n, _RATES) for n in config.evaluation.descent_steps]
  shared = base_alone(known, "init")._replace(name="shared")
  by_source = best_of_sources(known, prepared.known)
  return Rivals((in_context(known.family), *descents), known, (shared, by_source))


def document_examples(
  config: Config,
  sets: DocumentSets,
  prepared: Prepared,
  methods: Sequence[Method],
  key: Key[Array, ""],
) -> Arrays:
  """None yet."""
  del config, sets, prepared, methods, key
  return {}


DOCUMENTS_USE = Use(
  load_documents,
  check_documents,
  prepare_documents,
  document_rivals,
  document_examples,
)
