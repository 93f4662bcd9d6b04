"""Adapters: scales and shifts inside a trained encoder, tested on whole sets and domains
that it never saw."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet, Splits
from mcdi_jax.data.distortions import with_distortions
from mcdi_jax.data.load import load_images, load_raw, split_raw
from mcdi_jax.data.raw import Raw, chosen, in_canonical_order, with_training_domains
from mcdi_jax.evaluation import Facts
from mcdi_jax.families import Adapters, Features
from mcdi_jax.families.inside import embedded
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import (
  RENORMALISED,
  Known,
  descent,
  mean_of_bank,
  shuffled_adapters,
  whole_descent,
)
from mcdi_jax.pipeline.backbone import backbone_seed, prepare_backbone
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config, task_family
from mcdi_jax.pipeline.controls import bank_of, other_supports
from mcdi_jax.pipeline.evaluation import compare, methods_of
from mcdi_jax.pipeline.heads import check_pretraining
from mcdi_jax.pipeline.kept_scores import KeptScores
from mcdi_jax.pipeline.on_features import OnFeatures
from mcdi_jax.pipeline.targets import add_target, asked_of, content_of, read_images
from mcdi_jax.pipeline.timings import latencies
from mcdi_jax.pipeline.tuning import UNTUNED, Methods, Tuned
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use, cache
from mcdi_jax.tasks import Protocol, check_protocol

_TARGETS = "config.features.targets"
_SHUFFLED = {"generated": "shuffled_condition"}  # the name it has in every use
_OTHER_TASKS = 16  # whose supports stand in for a task's own


class ImageSets(NamedTuple):
  """The source's splits as they are, and with distortions as domains; sets to test on."""

  plain: Splits
  source: Splits
  targets: dict[str, ClassSet]
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...]


def load_adapters(config: Config) -> ImageSets:
  """Raises `InputError` for features, and for targets of another form than the source."""
  plain, asked = load_images(config.data), config.adapters
  raw = load_raw(config.data)
  own, source = content_of(in_canonical_order(raw._replace(split=None))), plain
  if asked.distort:
    setting = "config.adapters.distort"
    raw = with_distortions(raw, asked.distort, asked.distorted_per_class, setting=setting)
  if asked.beside:
    beside, trained, left_out = _beside(config, raw, plain.image_shape)
    raw = with_training_domains(raw, trained)
  if asked.distort or asked.beside:
    source = split_raw(raw, config.data, by_domain=True)
  targets = {f"{plain.name}-{plain.test.classes}": plain.test}
  contents = [source.digest]
  for path in config.features.targets:
    raw = in_canonical_order(read_images(path, plain.image_shape, _TARGETS))
    contents.append(content_of(raw))
    if asked.beside and contents[-1] == beside:
      raw = left_out
    add_target(targets, path, raw, content=contents[-1], source=own)
  digest = content_hash({"contents": contents})
  return ImageSets(plain, source, targets, plain.name, digest, plain.classes)


def _beside(
  config: Config, source: Raw, image_shape: tuple[int, ...]
) -> tuple[str, Raw, Raw]:
  """The content of the set that is trained on beside the source, its items of the domains
  that are, and of the one that is left out."""
  asked, setting = config.adapters, "config.adapters.beside"
  raw = in_canonical_order(read_images(asked.beside, image_shape, setting))
  remedy = "beside it only a source goes that says which classes are for test"
  check(source.split is not None, "config.data.path", source.name, remedy)
  domains = [] if raw.domain is None else sorted(set(raw.domain.tolist()))
  remedy = f"{raw.name} has the domains {domains}: name one, the others are trained on"
  known = asked.leave_out in domains and len(domains) > 1
  check(known, "config.adapters.leave_out", asked.leave_out, remedy)
  left_out = raw.domain == asked.leave_out
  return content_of(raw), chosen(raw, ~left_out), chosen(raw, left_out)


def check_adapters(config: Config, sets: ImageSets) -> None:
  check_pretraining(config, sets.plain)
  most = max(config.preparation.queries, config.finishing.queries)
  for form in config.forms:
    check_protocol(sets.source.val, form, "val")
    check_protocol(sets.source.train, form._replace(queries=most), "train")
  shots, fewest = max(config.features.shots), int(sets.source.val.count.min())
  need, asked = shots + config.evaluation.queries, config.features.shots
  remedy = f"a class of the val split has {fewest} images, lower it or evaluation.queries"
  check(need <= fewest, "config.features.shots", asked, remedy)
  check_unused(config, Adapters.name)
  check_family_has(config, task_family(config, sets.plain.image_shape))
  network, remedy = config.score.network, "this network reads heads alone, choose 'tokens'"
  check(network == "tokens", "config.score.network", network, remedy)


def check_unused(config: Config, family: str) -> None:
  """Settings that mean nothing to weights inside an encoder."""
  data, asked, on = config.data, config.evaluation, config.features
  for name, value, none in (
    ("data.rotations", data.rotations, False),
    ("data.invert", data.invert, "never"),
    ("evaluation.samples", asked.samples, 0),
    ("evaluation.without", asked.without, ()),
    ("preparation.augment_copies", config.preparation.augment_copies, 0),
    ("features.domains", on.domains, ()),
    ("features.across", on.across, 0),
    ("features.ready", on.ready, ()),
  ):
    check(value == none, f"config.{name}", value, f"{family} have none, set it to {none!r}")


def prepare_adapters(
  config: Config, sets: ImageSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """One encoder for all seeds, that of the bank's seed: what is generated is compared, and
  the bank is of it."""
  with timed("encoder"):
    directory = cache(config.backbone_dir, workdir / "backbone")
    metrics, own = workdir / "metrics.jsonl", backbone_seed(config, seed)
    backbone = prepare_backbone(config, sets.plain, directory, metrics, own)
  family = task_family(config, sets.plain.image_shape)
  on_device = lambda items: jax.tree.map(jnp.asarray, items)  # noqa: E731
  train, val = on_device(sets.source.train), on_device(sets.source.val)
  tests = {name: on_device(items) for name, items in sets.targets.items()}
  shown = next(iter(tests.values()))
  content = {"backbone": backbone.digest, "data": sets.source.digest}
  return Prepared(
    family,
    backbone.params,
    content_hash(content),
    config.backbone.architecture.name,
    Suite(train, val, tests, shown=shown),
    family.versions(train),
    {"data": sets.name},
  )


def adapter_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Statistics of the support in place of the encoder's; descent on the same weights from
  θ_0, and on all of the encoder's."""
  asked = config.evaluation
  found = (*map(descent, asked.descent_steps), *map(whole_descent, asked.whole_steps))
  tunable = (RENORMALISED, *found)
  return Rivals(tunable, Known(prepared.family, prepared.frozen), ())


def evaluate_adapters(
  config: Config,
  facts: Facts,
  generators: dict[str, Tuned],
  source: TaskSource,
  suite: Suite,
  rivals: Rivals,
  choices: Path,
) -> list[dict[str, Any]]:
  """The lines of one seed: each target with each number of shots. Rows on the features of
  the encoder as it is get the same supports and queries, embedded beforehand."""
  lines: list[dict[str, Any]] = []
  family, frozen = rivals.given
  embed = functools.cache(lambda name: embedded(family, frozen, suite.tests[name]))
  on = OnFeatures(family, frozen, embedded(family, frozen, suite.val))
  kept = KeptScores(choices / "scores")
  timing = config.evaluation.latency and facts.seed == config.seeds[0]
  timed: set[tuple[int, int]] = set()  # each form of task once, whatever it is of
  for name, test, form, tasks in asked_of(config, suite.tests, Features.most_ways):
    tuned = Protocol(
      min(form.ways, suite.val.together), form.shots, config.evaluation.queries
    )
    methods = methods_of(config, family, generators, tuned, suite, rivals, choices)
    heads = on.tuned(config, tuned, choices)
    controls = _controls(config, generators, source, form, test, rivals.given)
    others = [m.name for m, _ in (*methods, *heads) if m.name not in generators]
    own = dataclasses.replace(config.evaluation, tasks=tasks)
    every = [*methods, *heads, *controls]
    call = (dataclasses.replace(config, evaluation=own), facts, every, generators, form)
    scored = on.scorer([m.name for m, _ in heads], embed(name), kept)
    lines += compare(*call, name, test, None, dict.fromkeys(generators, others), scored)
    if timing and form[:2] not in timed:
      timed.add(form[:2])
      found = [*(m for m, _ in methods), *(on.from_images(m) for m, _ in heads)]
      lines += latencies(config, facts, found, generators, form, test)
  return lines


def _controls(
  config: Config,
  generators: dict[str, Tuned],
  source: TaskSource,
  form: Protocol,
  test: ClassSet,
  known: Known,
) -> Methods:
  """Scales and shifts that each generator makes for another task of the same target; and
  their mean over the bank. All have the head that the task's own support makes in closed
  form."""
  supports = other_supports(config, generators, form, test, _OTHER_TASKS)
  others = [
    shuffled_adapters(generator, choice.settings["temperature"], supports)._replace(
      name=_SHUFFLED.get(name, f"shuffled_{name}")
    )
    for name, ((generator, _), choice) in generators.items()
  ]
  bank = bank_of(source, 0, config.forms[0], known.family)
  width = known.frozen["mean"].shape[0]
  none = {"kernel": np.zeros((1, 1, width, form.ways)), "bias": np.zeros((1, 1, form.ways))}
  mean = mean_of_bank(known, bank._replace(weights={**bank.weights, "head": none}))
  return [(method, UNTUNED) for method in (*others, mean)]


def adapter_examples(*args: Any) -> Arrays:
  """None yet."""
  del args
  return {}


ADAPTERS_USE = Use(
  load_adapters,
  check_adapters,
  prepare_adapters,
  adapter_rivals,
  adapter_examples,
  evaluate_adapters,
)
