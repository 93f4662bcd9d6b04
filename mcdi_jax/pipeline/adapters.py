"""Adapters: scales and shifts inside a trained encoder, tested on whole sets and domains
that it never saw."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mcdi_jax.data import ClassSet, DataConfig, Splits
from mcdi_jax.data.distortions import with_distortions
from mcdi_jax.data.images import to_colour
from mcdi_jax.data.load import load_images, load_raw, split_raw
from mcdi_jax.evaluation import Facts, Scores, score
from mcdi_jax.families import Features
from mcdi_jax.families.adapters import Adapters, embedded
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.meta import TaskSource
from mcdi_jax.methods import (
  COSINE,
  PROTOTYPES,
  RIDGE,
  RIDGE_LOO,
  Known,
  Method,
  Statistics,
  descent,
  mean_of_bank,
)
from mcdi_jax.pipeline.backbone import prepare_backbone
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config, task_family
from mcdi_jax.pipeline.evaluation import (
  UNTUNED,
  Methods,
  bank_of,
  compare,
  latencies,
  methods_of,
  shuffled,
)
from mcdi_jax.pipeline.heads import check_pretraining
from mcdi_jax.pipeline.targets import form_of, sets_of
from mcdi_jax.pipeline.tuning import Tuned, tuned_baseline
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use, cache
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Protocol, check_protocol

ON_FEATURES = (PROTOTYPES, COSINE, RIDGE, RIDGE_LOO)
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
  plain, asked = load_images(config.data), config.adapters
  source = plain
  if asked.distort:
    raw = load_raw(config.data)
    raw = with_distortions(raw, asked.distort, asked.distorted_per_class)
    source = split_raw(raw, config.data, by_domain=True)
  size, contents = plain.image_shape[0], [source.digest]
  targets = {f"{plain.name}-{plain.test.classes}": plain.test}
  for path in config.features.targets:
    raw = load_raw(DataConfig(source="npz", path=path, size=size))
    if raw.of_features:
      raise InputError(f"config.features.targets: {path} holds features: give images")
    raw = raw._replace(
      images=to_colour(raw.images) if plain.image_shape[2] == 3 else raw.images
    )
    for name, items in sets_of(raw).items():
      if name in targets:
        raise InputError(f"config.features.targets: two are called {name!r}: rename a file")
      targets[name] = items
      contents.append(content_hash({"x": items.x.tobytes().hex()[:64], "n": len(items.x)}))
  digest = content_hash({"contents": contents})
  return ImageSets(plain, source, targets, plain.name, digest, plain.classes)


def check_adapters(config: Config, sets: ImageSets) -> None:
  check_pretraining(config, sets.plain)
  for form in config.forms:
    check_protocol(sets.source.val, form, "val")
    most = max(config.preparation.queries, config.finishing.queries)
    check_protocol(sets.source.train, form._replace(queries=most), "train")
  family = task_family(config, sets.plain.image_shape)
  check_family_has(config, family)
  network, remedy = config.score.network, "this network reads heads alone, choose 'tokens'"
  check(network == "tokens", "config.score.network", network, remedy)


def prepare_adapters(
  config: Config, sets: ImageSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """One encoder for all seeds, that of the bank's seed: what is generated is compared, and
  the bank is of it."""
  del seed
  with timed("encoder"):
    directory = cache(config.backbone_dir, workdir / "backbone")
    metrics, own = workdir / "metrics.jsonl", config.preparation.seed
    backbone = prepare_backbone(config, sets.plain, directory, metrics, own)
  family = task_family(config, sets.plain.image_shape)
  on_device = lambda items: jax.tree.map(jnp.asarray, items)  # noqa: E731
  train, val = on_device(sets.source.train), on_device(sets.source.val)
  tests = {name: on_device(items) for name, items in sets.targets.items()}
  shown = next(iter(tests.values()))
  asked = dataclasses.asdict(config.adapters)
  content = {"backbone": backbone.digest, "data": sets.source.digest, **asked}
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
  """Descent on the same weights from θ_0, and θ_0 itself."""
  tunable = tuple(descent(n) for n in config.evaluation.descent_steps)
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
  settings, family, frozen = config.features, rivals.given.family, rivals.given.frozen
  on = _Embedded(family, frozen, suite.val)
  ways = settings.ways or (0,) * len(settings.shots)
  for n, shots, supports in zip(ways, settings.shots, settings.supports, strict=True):
    for name, test in suite.tests.items():
      form = form_of(config, name, test, n, shots)
      if form is None:
        continue
      tuned = form._replace(ways=min(form.ways, suite.val.together))
      tuned = tuned._replace(queries=config.evaluation.queries)
      methods = methods_of(config, family, generators, tuned, suite, rivals, choices)
      heads = on.tuned(config, tuned, choices)
      controls = _controls(config, generators, source, form, test, family, frozen)
      own = dataclasses.replace(config.evaluation, tasks=supports)
      every = [*methods, *heads, *controls]
      others = [m.name for m, _ in (*methods, *heads) if m.name not in generators]
      pairs = dict.fromkeys(generators, others)
      call = (dataclasses.replace(config, evaluation=own), facts, every, generators, form)
      scored = on.scorer({m.name for m, _ in heads}, test)
      lines += compare(*call, name, test, None, pairs, scored)
      first = name == next(iter(suite.tests))
      if config.evaluation.latency and facts.seed == config.seeds[0] and first:
        found = [m for m, _ in methods]
        lines += latencies(config, facts, found, generators, form, test)
  return lines


def _controls(
  config: Config,
  generators: dict[str, Tuned],
  source: TaskSource,
  form: Protocol,
  test: ClassSet,
  family: Adapters,
  frozen: Any,
) -> Methods:
  """The support of another task of the same target; the mean of the bank, whose heads, as
  classes are a set, are none."""
  number = [f.ways for f in config.forms].index(config.forms[0].ways)
  bank: Bank = bank_of(source, number, config.forms[0], family)
  head = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[..., :1]), bank.weights["head"])
  wide = jax.tree.map(lambda leaf: jnp.repeat(leaf, form.ways, -1), head)
  bank = bank._replace(weights={**bank.weights, "head": wide})
  other = shuffled(config, generators, form, test, _OTHER_TASKS)
  return [(other, UNTUNED), (mean_of_bank(Known(family, frozen), bank), UNTUNED)]


class _Embedded:
  """Methods on the features of the encoder as it is."""

  def __init__(self, family: Adapters, frozen: Any, val: ClassSet):
    self._family, self._frozen = family, frozen
    self._sets: dict[int, ClassSet] = {}
    self._val = val
    width = frozen["mean"].shape[0]
    self._on = Features(width=width, ways=family.ways, shots=family.shots)
    mean = frozen["mean"] / frozen["scale"]
    self._known = Statistics(mean, jnp.zeros_like(mean))

  def _of(self, items: ClassSet) -> ClassSet:
    if id(items.x) not in self._sets:
      self._sets[id(items.x)] = embedded(self._family, self._frozen, items)
    return self._sets[id(items.x)]

  def tuned(self, config: Config, form: Protocol, choices: Path) -> Methods:
    call = (form, self._on, self._of(self._val), self._known, choices)
    return [tuned_baseline(config, tunable, *call) for tunable in ON_FEATURES]

  def scorer(self, names: set[str], test: ClassSet) -> Any:
    """Called as `score` is; methods of these names get features."""

    def scored(
      methods: Sequence[Method],
      family: Any,
      items: ClassSet,
      protocol: Protocol,
      keys: Array,
    ) -> list[Scores]:
      on_features = [m for m in methods if m.name in names]
      others = [m for m in methods if m.name not in names]
      found = dict(zip(others, score(others, family, items, protocol, keys), strict=True))
      features = self._of(test)
      heads = score(on_features, self._on, features, protocol, keys)
      by_name = {m.name: s for m, s in found.items()}
      by_name |= {m.name: s for m, s in zip(on_features, heads, strict=True)}
      return [by_name[m.name] for m in methods]

    return scored


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
