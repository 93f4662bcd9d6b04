"""Features: classifiers on the features of an encoder that people have, for whole data sets
that the generator never saw."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet, Splits, load_splits
from mcdi_jax.data.class_set import gather_classes
from mcdi_jax.data.npz import read_features
from mcdi_jax.data.raw import Raw, in_canonical_order
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import FEATURE_HEADS, Statistics
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config, task_family
from mcdi_jax.pipeline.targets import add_target, content_of
from mcdi_jax.pipeline.transfer import evaluate_transfer, open_ready
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use
from mcdi_jax.tasks import check_protocol


class FeatureSets(NamedTuple):
  """The source's splits, and the sets to test on.

  Attributes:
    source: features as they were given.
    targets: by name.
    encoder: that made them, as the file says.
    name, digest, classes: of all.
  """

  source: Splits
  targets: dict[str, ClassSet]
  encoder: str
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...]


def load_features(config: Config) -> FeatureSets:
  """Raises `InputError` for images, and for targets of another encoder."""
  check(
    config.data.source == "npz",
    "config.data.source",
    config.data.source,
    "features come in an .npz, which launch.embed makes of images",
  )
  own = read_features(config.data.path, setting="config.data.path")
  source = load_splits(config.data)
  targets = _tests_of(source)
  contents, own_content = (
    [source.digest],
    content_of(in_canonical_order(own._replace(split=None))),
  )
  for path in config.features.targets:
    raw = in_canonical_order(read_features(path, setting="config.features.targets"))
    check_same_encoder(path, raw, own)
    contents.append(content_of(raw))
    add_target(targets, path, raw, content=contents[-1], source=own_content)
  encoder = own.encoder or f"{source.image_shape[0]}-d"
  digest = content_hash({"contents": contents})
  return FeatureSets(source, targets, encoder, source.name, digest, source.classes)


def _tests_of(source: Splits) -> dict[str, ClassSet]:
  """The source's test classes, those of each domain for themselves."""
  test, found = source.test, {}
  if test.group is None:
    return {f"{source.name}-{test.classes}": test}
  for group in np.unique(test.group):
    own = np.flatnonzero(test.group == group)
    name = source.domains[2][own[0]]
    of_domain = gather_classes(test, own)._replace(group=None, twins=None)
    found[f"{source.name}-{name}-{len(own)}"] = of_domain
  return found


def check_same_encoder(path: str, raw: Raw, own: Raw) -> None:
  width, wanted = raw.images.shape[1], own.images.shape[1]
  if width != wanted or raw.encoder != own.encoder:
    raise InputError(
      f"config.features.targets: {path} has {width} features of the encoder "
      f"{raw.encoder!r}, the source {wanted} of {own.encoder!r}: embed both with one"
    )


def check_features(config: Config, sets: FeatureSets) -> None:
  source = sets.source
  _check_domains(config, source)
  open_ready(config)
  train, val = (_of_domains(source, split, config.features.domains) for split in (0, 1))
  for form in config.forms:
    check_protocol(val, form, "val")
    need = form._replace(queries=config.finishing.queries)
    check_protocol(train, need, "train")
  check_protocol(source.test, config.forms[0], "test")
  check_generator(config, source.image_shape)


def check_generator(config: Config, item_shape: tuple[int, ...]) -> None:
  """What the settings of a generator of heads on features must be."""
  check_family_has(config, task_family(config, item_shape))
  _check_unused(config)
  network, remedy = config.score.network, "features of any width need 'equivariant'"
  check(network == "equivariant", "config.score.network", network, remedy)
  copies, remedy = config.preparation.augment_copies, "only images have them, set it to 0"
  check(not copies, "config.preparation.augment_copies", copies, remedy)
  project, width = config.features.project, item_shape[0]
  remedy = f"the features have {width} dimensions: lower it, or set it to 0"
  check(project <= width, "config.features.project", project, remedy)


def _check_domains(config: Config, source: Splits) -> None:
  setting, named = "config.features.domains", config.features.domains
  check(len(set(named)) == len(named), setting, named, "name each once")
  both = set.intersection(*map(set, source.domains[:2])) if source.domains else set()
  for name in named:
    found = f"training and validation classes have {sorted(both)}"
    remedy = found if both else "the source has no domains, set it to ()"
    check(name in both, setting, name, remedy)
  across, domains = config.features.across, len(named or both)
  remedy = f"{domains} domains are trained on, one of them for the queries: lower it"
  check(across < max(domains, 1), "config.features.across", across, remedy)
  for split, name in enumerate(("train", "val")) if across else ():
    items = _of_domains(source, split, named)
    whole = (items.twins[:, np.unique(items.group)] >= 0).all()
    remedy = f"not every class of the {name} split is in all of the domains, set it to 0"
    check(whole, "config.features.across", across, remedy)


def _check_unused(config: Config) -> None:
  """Settings that mean nothing here."""
  data, asked = config.data, config.evaluation
  for name, value, none in (
    ("data.rotations", data.rotations, False),
    ("data.grey", data.grey, False),
    ("data.size", data.size, 0),
    ("data.invert", data.invert, "never"),
    ("evaluation.samples", asked.samples, 0),
    ("evaluation.without", asked.without, ()),
  ):
    check(value == none, f"config.{name}", value, f"features have none, set it to {none!r}")


def prepare_features(
  config: Config, sets: FeatureSets, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """In the source's classes, those of the domains that are asked for."""
  del seed, workdir
  source, asked = sets.source, config.features.domains
  with timed("features"):
    train, val = (_of_domains(source, split, asked) for split in (0, 1))
    names = ("project", "unit_length", "domains")
    content = {"data": source.digest, **{n: getattr(config.features, n) for n in names}}
    about = {"data": sets.name, "encoder": sets.encoder}
    return scaled_sets(config, train, val, sets.targets, source.test, content, about)


def scaled_sets(
  config: Config,
  train: ClassSet,
  val: ClassSet,
  tests: dict[str, Any],
  shown: ClassSet,
  content: dict[str, Any],
  about: dict[str, Any],
) -> Prepared:
  """Features divided by one number: the mean squared norm of the training ones about their
  mean is 1. The generator is trained on the bank's weights in principal components, and on
  the query loss, validated and tested in all dimensions.

  Args:
    content: what the training features are determined by.
    about: `data`, the set's name, and `encoder`.
  """
  centred = train.x - train.x.mean(0)
  scale = float(np.sqrt(np.mean(np.sum(centred**2, 1))))

  def standard(items: Any) -> Any:
    return jax.tree.map(jnp.asarray, items._replace(x=items.x / scale))

  train, shown = standard(train), standard(shown)
  known, query_train = _statistics(train), train
  if config.features.project:
    basis = _principal(np.asarray(train.x), config.features.project)
    train, shown = (part._replace(x=part.x @ basis) for part in (train, shown))
  tests = {name: standard(items) for name, items in tests.items()}
  family = task_family(config, train.x.shape[1:])
  suite = Suite(train, standard(val), tests, shown=shown, query_train=query_train)
  digest, versions = content_hash(content), family.versions(train)
  return Prepared(family, {}, digest, about["encoder"], suite, versions, about, known)


def _statistics(items: ClassSet) -> Statistics:
  """Of the training features, in all dimensions."""
  x = np.asarray(items.x)
  mean = x.mean(0)
  within = {"none": _within(x, items), "source": _within(x - mean, items)}
  return Statistics(jnp.zeros(x.shape[1]), -jnp.asarray(mean), within)


def _within(x: np.ndarray, items: ClassSet) -> tuple[Any, Any]:
  """Directions [D, D] and variances [D] within classes, of features divided by their
  length."""
  unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)
  square = np.zeros((x.shape[1],) * 2, np.float32)
  for row, number in zip(np.asarray(items.index), np.asarray(items.count), strict=True):
    own = unit[row[:number]]
    own = own - own.mean(0)
    square += own.T @ own
  variances, directions = np.linalg.eigh(square / len(x))
  return jnp.asarray(directions), jnp.asarray(np.maximum(variances, 0))


def _of_domains(source: Splits, split: int, names: tuple[str, ...]) -> ClassSet:
  """Training (0) or validation (1) classes in these domains; all where none is named."""
  items: ClassSet = source[split]
  if not names:
    return items
  return gather_classes(items, np.flatnonzero(np.isin(source.domains[split], names)))


def _principal(x: np.ndarray, number: int) -> np.ndarray:
  """[D, number] directions of the largest second moments: the mean's first, as a rule."""
  _, directions = np.linalg.eigh(x.T @ x)
  return np.ascontiguousarray(directions[:, ::-1][:, :number])


def feature_rivals(config: Config, prepared: Prepared) -> Rivals:
  del config
  return Rivals(FEATURE_HEADS, prepared.known, ())


def feature_examples(*args: Any) -> Arrays:
  """There is nothing to look at."""
  del args
  return {}


FEATURES_USE = Use(
  load_features,
  check_features,
  prepare_features,
  feature_rivals,
  feature_examples,
  evaluate_transfer,
)
