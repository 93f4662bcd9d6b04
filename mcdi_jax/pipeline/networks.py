"""Networks: few-shot classification by classifiers all of whose weights are generated."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data import Splits, with_rotations
from mcdi_jax.data.class_set import take_classes
from mcdi_jax.evaluation import classified
from mcdi_jax.lib.config import check
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import Known, Method, base_alone
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config, task_family
from mcdi_jax.pipeline.heads import about_images, check_images, load_images
from mcdi_jax.pipeline.initial import prepare_frozen
from mcdi_jax.pipeline.own import network_rivals
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use


def check_networks(config: Config, splits: Splits) -> None:
  check_images(config, splits)
  check_family_has(config, task_family(config, splits.image_shape))
  copies, remedy = config.preparation.augment_copies, "only features have them, set it to 0"
  check(not copies, "config.preparation.augment_copies", copies, remedy)
  remedy = "this network reads heads alone, choose 'tokens'"
  network = config.score.network
  check(network == "tokens", "config.score.network", network, remedy)


def prepare_networks(
  config: Config, splits: Splits, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """The θ_0 that all tasks share; the items are images."""
  del seed
  family = task_family(config, splits.image_shape)
  sets = {
    n: jax.tree.map(jnp.asarray, getattr(splits, n)) for n in ("train", "val", "test")
  }
  classes, tests = splits.test.classes, {}
  if config.data.rotations:
    sets = {name: with_rotations(images) for name, images in sets.items()}
    tests[f"{splits.name}-{classes}-rotated"] = sets["test"]
  tests = {f"{splits.name}-{classes}": take_classes(sets["test"], 0, classes), **tests}
  data = f"{splits.digest}{' rotated' * config.data.rotations}"
  items = lambda _: sets["train"]  # noqa: E731
  frozen, digest = prepare_frozen(config, family, data, items, workdir, timed)
  suite = Suite(sets["train"], sets["val"], tests, classes)
  versions = family.versions(sets["train"])
  return Prepared(family, frozen, digest, None, suite, versions, about_images(splits))


def conv4_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Gradient descent from θ_0, and the prototypes of its features."""
  known = Known(prepared.family, prepared.frozen)
  return network_rivals(config, prepared)._replace(fixed=(base_alone(known, "prototypes"),))


def network_examples(
  config: Config,
  splits: Splits,
  prepared: Prepared,
  methods: Sequence[Method],
  key: Key[Array, ""],
) -> Arrays:
  del splits
  generator, _ = methods[0].variables
  images = next(iter(prepared.suite.tests.values()))
  found = classified(generator, config.forms[0], images, images, key)
  return {name: np.asarray(array) for name, array in found.items()}


NETWORKS_USE = Use(
  load_images, check_networks, prepare_networks, conv4_rivals, network_examples
)
