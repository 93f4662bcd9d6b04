"""Fields: images held by the weights of a network each."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet, Splits
from mcdi_jax.evaluation import reconstructed
from mcdi_jax.families import FieldItems, Fields
from mcdi_jax.lib.config import check
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import Method
from mcdi_jax.networks import Params
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config, task_family
from mcdi_jax.pipeline.heads import about_images, load_images
from mcdi_jax.pipeline.initial import prepare_frozen
from mcdi_jax.pipeline.own import network_rivals
from mcdi_jax.pipeline.use import Arrays, Prepared, Stage, Suite, Use


def check_fields(config: Config, splits: Splits) -> None:
  for name in ("ways", "shots"):
    value = getattr(config.meta, name)
    remedy = "an image is held at a time, set it to (1,)"
    check(value == (1,), f"config.meta.{name}", value, remedy)
  remedy = "images are held upright, set it to False"
  check(not config.data.rotations, "config.data.rotations", True, remedy)
  kinds = {"config.preparation.augment_copies": config.preparation.augment_copies}
  kinds["config.finishing.feature_noise"] = config.finishing.feature_noise
  for name, value in kinds.items():
    check(not value, name, value, "fields have none, set it to 0")
  remedy = "this network reads classes, choose 'tokens'"
  network = config.score.network
  check(network == "tokens", "config.score.network", network, remedy)
  delta = "generated_delta" in config.generators
  remedy = "there are no prototypes of an image, leave 'generated_delta' out"
  check(not delta, "config.generators", config.generators, remedy)
  check_family_has(config, task_family(config, splits.image_shape))


def prepare_fields(
  config: Config, splits: Splits, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """Frequencies and the shared θ_0."""
  del seed
  family = task_family(config, splits.image_shape)

  def items(frozen: Params, images: ClassSet = splits.train) -> FieldItems:
    return family.items(frozen, jax.tree.map(jnp.asarray, images))

  call = (config, family, splits.digest, items, workdir, timed)
  frozen, digest = prepare_frozen(*call)
  train = items(frozen)
  tests = {f"{splits.name}-{splits.test.classes}": items(frozen, splits.test)}
  suite = Suite(train, items(frozen, splits.val), tests, splits.test.classes)
  about = about_images(splits)
  return Prepared(family, frozen, digest, None, suite, train, about)


def field_examples(
  config: Config,
  splits: Splits,
  prepared: Prepared,
  methods: Sequence[Method],
  key: Key[Array, ""],
) -> Arrays:
  del config, splits
  family = prepared.family
  assert isinstance(family, Fields)
  return reconstructed(methods, family, next(iter(prepared.suite.tests.values())), key)


FIELDS_USE = Use(load_images, check_fields, prepare_fields, network_rivals, field_examples)
