"""Domains: classifiers for a domain of which nothing is labelled, from others that are.

The items are features; or images, before the encoder of a generator of adapters."""

import functools
import hashlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet
from mcdi_jax.data.load import in_domains
from mcdi_jax.data.npz import read_features
from mcdi_jax.data.raw import Raw, in_canonical_order
from mcdi_jax.families import Adapters
from mcdi_jax.families.inside import embedded
from mcdi_jax.generator import Generator
from mcdi_jax.generator.storage import fingerprint, load_generator
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import LOGISTIC, PROTOTYPES, RIDGE, RIDGE_LOO, LogUniform
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.features import (
  check_generator,
  check_same_encoder,
  feature_examples,
  scaled_sets,
)
from mcdi_jax.pipeline.generalisation import evaluate_domains
from mcdi_jax.pipeline.sources import Images
from mcdi_jax.pipeline.targets import content_of, read_images
from mcdi_jax.pipeline.transfer import open_ready
from mcdi_jax.pipeline.use import Prepared, Rivals, Stage, Suite, Use
from mcdi_jax.tasks import Support, check_protocol

_ROWS, _WIDTH = 4096, 256  # that arrays of items and of a class's places are multiples of


class DomainSets(NamedTuple):
  """Features of the source domains, and of the target, with the same classes.

  Attributes:
    source: with the `domain` of each item.
    target: its items, in an order that their labels have no say in.
    protocol: what was left out, as results name it.
    encoder: that made them, as the file says; or that of `inside`.
    inside: a generator of adapters, if the items are images.
    name, digest, classes: of the source; the digest is of the target, too.
  """

  source: Raw
  target: Support
  protocol: str
  encoder: str
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...]
  inside: Generator | None = None


def load_domains(config: Config) -> DomainSets:
  """Raises `InputError` for a domain that is not there, for a file of one domain, and for a
  target of another encoder or of other classes."""
  inside = _open_adapters(config.domains.adapters)
  raw = _read(config.data.path, "config.data.path", inside)
  out, targets = config.domains.leave_out, config.features.targets
  if out:
    source, target = _without(raw, out)
    protocol, contents = f"{raw.name}-without-{out}", [content_of(raw), out]
    check(
      not targets, "config.features.targets", targets, f"{out} is the target: set it to ()"
    )
  else:
    remedy = "name the file of the target, or a domain in config.domains.leave_out"
    check(len(targets) == 1, "config.features.targets", targets, remedy)
    source, target = raw, _read(targets[0], "config.features.targets", inside)
    check_same_encoder(targets[0], target, raw)
    protocol = f"{raw.name}-to-{target.name}"
    contents = [content_of(source), content_of(target)]
  if source.domain is None:
    source = source._replace(domain=np.full(len(source.labels), source.name))
  _check_classes(source, target, protocol)
  encoder = raw.encoder or f"{raw.images.shape[1]}-d"
  if inside is not None:
    encoder = f"{inside.family.network}-{fingerprint(inside)[:8]}"
  digest = hashlib.sha256(repr(contents).encode()).hexdigest()
  order = _by_content(target.images)
  items = Support(target.images[order], target.labels[order])
  told = (encoder, raw.name, digest, (raw.classes,), inside)
  return DomainSets(source, items, protocol, *told)


def _open_adapters(name: str) -> Any:
  """The generator that `config.domains.adapters` names; None: it names none."""
  setting = "config.domains.adapters"
  if not name:
    return None
  try:
    found = load_generator(name)
  except MissingError as error:
    raise MissingError(f"{setting}: {error}") from None
  made = f"{name} makes weights of {found.family.name}: name a generator of adapters"
  if not isinstance(found.family, Adapters):
    raise InputError(f"{setting}: {made}")
  return found


def _read(path: str, setting: str, inside: Generator | None) -> Raw:
  """Features, or images in the form that the encoder takes."""
  if inside is None:
    return in_canonical_order(read_features(path, setting=setting))
  return in_canonical_order(read_images(path, inside.family.image_shape, setting))


def _without(raw: Raw, out: str) -> tuple[Raw, Raw]:
  """The items of the other domains, and those of this one."""
  setting = "config.domains.leave_out"
  known = [] if raw.domain is None else sorted(set(raw.domain.tolist()))
  if len(known) < 2:
    raise InputError(
      f"{setting} is {out!r}, and {raw.name} is of one domain: give the target's file as "
      "config.features.targets, and no domain to leave out"
    )
  check(out in known, setting, out, f"{raw.name} has {known}: name one of them")
  return _of_items(raw, raw.domain != out), _of_items(raw, raw.domain == out)


def _of_items(raw: Raw, where: np.ndarray) -> Raw:
  names = ("images", "labels", "domain")
  return raw._replace(**{name: getattr(raw, name)[where] for name in names})


def _by_content(x: np.ndarray) -> np.ndarray:
  """The order of items by their bytes, which labels have no say in."""
  x = np.ascontiguousarray(x.reshape(len(x), -1))
  return np.argsort(x.view(np.dtype((np.void, x.shape[1] * x.itemsize))).ravel())


def _check_classes(source: Raw, target: Raw, protocol: str) -> None:
  """Each domain has some items of each class."""
  if source.classes != target.classes:
    raise InputError(
      f"{protocol}: the source's classes are {list(source.classes)}, the target's "
      f"{list(target.classes)}: give both the same"
    )
  for domain in sorted(set(source.domain.tolist())):
    count = np.bincount(
      source.labels[source.domain == domain], minlength=len(source.classes)
    )
    if count.min() < 2:
      raise InputError(
        f"{source.name}: the domain {domain} has {count.min()} items of the class "
        f"{source.classes[count.argmin()]}: leave one of them out, two are needed"
      )
  if len(np.unique(target.labels)) < len(target.classes):
    raise InputError(f"{protocol}: a class has no item in the target: leave it out of all")


def check_domains(config: Config, sets: DomainSets) -> None:
  open_ready(config)
  width = sets.source.images.shape[1:]
  if sets.inside is not None:
    width = sets.inside.frozen["mean"].shape
  check_generator(config, width)
  domains, across = len(set(sets.source.domain.tolist())), config.features.across
  remedy = f"{domains} domains are sources, one of them for the queries: lower it"
  check(across < domains, "config.features.across", across, remedy)
  named, remedy = config.features.domains, "all domains but one are sources, set it to ()"
  check(not named, "config.features.domains", named, remedy)
  ways, classes = config.meta.ways, len(sets.classes[0])
  remedy = f"the domains have {classes} classes: lower it"
  check(max(ways) <= classes, "config.meta.ways", ways, remedy)
  train, _ = _split(config, sets.source, config.seeds[0])
  for form in config.forms:
    check_protocol(train, form._replace(queries=config.finishing.queries), "train")


def prepare_domains(
  config: Config, sets: DomainSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """Of each source domain a share, drawn by the seed, is for validation."""
  del workdir
  with timed("features"):
    train, val = _split(config, sets.source, seed)
    target, images = sets.target, None
    if inside := sets.inside:
      images = Images(inside, train, target.x)
      embed = functools.partial(embedded, inside.family, inside.frozen)
      train, val, target = map(embed, (train, val, target))
    names = ("project", "unit_length")
    content = {"data": sets.digest, "validation": config.domains.validation, "seed": seed}
    content |= {n: getattr(config.features, n) for n in names}
    about = {"data": sets.name, "encoder": sets.encoder}
    tests = {sets.protocol: target}
    found = scaled_sets(config, train, val, tests, train, content, about)
    suite = _padded(found.suite)._replace(images=images)
    return found._replace(suite=suite, versions=found.family.versions(suite.train))


def _split(config: Config, raw: Raw, seed: int) -> tuple[ClassSet, ClassSet]:
  """To be given to methods, and to choose on: a class for each pair of domain and class."""
  held = _held_out(raw, config.domains.validation, seed)
  train, val = (
    in_domains(raw.images[w], raw.labels[w], raw.domain[w], raw.classes)[0]
    for w in (~held, held)
  )
  return train, val


def _padded(suite: Suite) -> Suite:
  """With arrays as large as most choices of a domain need, so that a cache of compiled
  functions serves them all."""

  def pad(items: ClassSet) -> ClassSet:
    rows, width = -len(items.x) % _ROWS, -items.index.shape[1] % _WIDTH
    x, index = (
      jnp.pad(items.x, ((0, rows), (0, 0))),
      jnp.pad(items.index, ((0, 0), (0, width))),
    )
    return items._replace(x=x, index=index)

  names = ("train", "val", "query_train")
  return suite._replace(**{name: pad(getattr(suite, name)) for name in names})


def _held_out(raw: Raw, share: float, seed: int) -> np.ndarray:
  """bool [n]; a share of each class in each domain, at least one item, and never all."""
  rng, held = np.random.default_rng(seed), np.zeros(len(raw.labels), bool)
  for domain in sorted(set(raw.domain.tolist())):
    for label in range(len(raw.classes)):
      own = np.flatnonzero((raw.domain == domain) & (raw.labels == label))
      number = min(max(1, round(share * len(own))), len(own) - 1)
      held[rng.permutation(own)[:number]] = True
  return held


def domain_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Thousands of items want less of a penalty on a mean loss than a few do; and where each
  class has thousands, that of `ridge_loo` is theirs to choose."""
  del config
  loo = RIDGE_LOO._replace(space={**RIDGE_LOO.space, "penalty": (1.0,), "spread": (1.0,)})
  logistic = LOGISTIC._replace(space={**LOGISTIC.space, "penalty": LogUniform(1e-7, 1.0)})
  return Rivals((PROTOTYPES, RIDGE, loo, logistic), prepared.known, ())


DOMAINS_USE = Use(
  load_domains,
  check_domains,
  prepare_domains,
  domain_rivals,
  feature_examples,
  evaluate_domains,
)
