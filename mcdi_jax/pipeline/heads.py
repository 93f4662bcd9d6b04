"""Heads: few-shot classification on the features of a backbone of our own."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data import Splits
from mcdi_jax.data.images import border_brightness
from mcdi_jax.data.load import load_images as read_images
from mcdi_jax.evaluation import classified
from mcdi_jax.families.few_shot_images import check_image_shape
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import HEADS, Method, Statistics, prepared
from mcdi_jax.networks.validation import PROTOCOLS
from mcdi_jax.pipeline.backbone import (
  augmented_features,
  backbone_seed,
  embed_splits,
  prepare_backbone,
)
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import GENERATORS, Config, task_family
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use, cache
from mcdi_jax.tasks import check_protocol


def check_images(config: Config, splits: Splits) -> None:
  """Whether there are enough for few-shot tasks, of a size that backbones take."""
  _check_size(config, splits)
  for form in config.forms:
    check_protocol(splits.val, form, "val")
    check_protocol(splits.test, form, "test")
    check_protocol(splits.train, form._replace(queries=_training_queries(config)), "train")


def _check_size(config: Config, splits: Splits) -> None:
  height, width, _ = splits.image_shape
  check_image_shape(splits.image_shape)
  if config.data.rotations and height != width:
    raise InputError(
      f"the images are {height}×{width}: only square ones can be turned, so set "
      "config.data.rotations to False"
    )


def check_heads(config: Config, splits: Splits) -> None:
  check_images(config, splits)
  check_family_has(config, task_family(config, splits.image_shape))
  check_pretraining(config, splits)


def _training_queries(config: Config) -> int:
  """Queries a class that preparation or the query loss needs beside the support."""
  preparation, finishing = config.preparation, config.finishing
  query_loss = any(GENERATORS[g].algorithm == "query_loss" for g in config.generators)
  return max(
    preparation.queries if preparation.prepare_on == "support_and_query" else 0,
    finishing.queries if query_loss else 0,
  )


def check_pretraining(config: Config, splits: Splits) -> None:
  """Whether images are of a size that backbones take, and there are enough for a step, and
  for a look at validation classes."""
  _check_size(config, splits)
  backbone, items = config.backbone, splits.train
  turns = 4 if config.data.rotations else 1
  classes, smallest = turns * items.classes, int(items.count.min())
  remedy = f"the train split has {classes} classes: lower it"
  check(backbone.ways <= classes, "config.backbone.ways", backbone.ways, remedy)
  remedy = f"a class of the train split has {smallest} images: lower it"
  fits = backbone.drawings <= smallest
  check(fits, "config.backbone.drawings", backbone.drawings, remedy)
  for protocol in PROTOCOLS if backbone.validate_every else ():
    check_protocol(splits.val, protocol, "val")


def prepare_heads(
  config: Config, splits: Splits, seed: int, workdir: Path, timed: Stage
) -> Prepared:
  """Backbone and features; a seed trains a backbone of its own, if it is not shared."""
  with timed("backbone"):
    directory = cache(config.backbone_dir, workdir / "backbone")
    metrics = workdir / "metrics.jsonl"
    own = backbone_seed(config, seed)
    backbone = prepare_backbone(config, splits, directory, metrics, own)
  with timed("features"):
    features = embed_splits(config, splits, backbone)
    versions = augmented_features(config, splits, backbone, features.train)
  upright = features.upright_test
  tests = {f"{splits.name}-{upright.classes}": upright}
  if config.data.rotations:
    tests[f"{splits.name}-{upright.classes}-rotated"] = features.test
  return Prepared(
    task_family(config, splits.image_shape),
    backbone.params,
    backbone.digest,
    config.backbone.architecture.name,
    Suite(features.train, features.val, tests, upright.classes),
    versions,
    about_images(splits),
  )


def load_images(config: Config) -> Splits:
  return read_images(config.data)


def about_images(splits: Splits) -> dict[str, Any]:
  """What users' images must be like."""
  border = border_brightness(np.asarray(splits.train.x)) / 255
  return {"data": splits.name, "border_brightness": border}


def head_rivals(config: Config, prepared_seed: Prepared) -> Rivals:
  """On features, whose standardisation has taken their mean off; what has been divided by
  its length has none to be given back."""
  mean = prepared_seed.frozen["mean"] / prepared_seed.frozen["scale"]
  mean = jnp.zeros_like(mean) if config.backbone.unit_length else mean
  known = Statistics(none=mean, source=jnp.zeros_like(mean))
  return Rivals(HEADS, known, (prepared(config.preparation, known),))


def head_examples(
  config: Config,
  splits: Splits,
  prepared_seed: Prepared,
  methods: Sequence[Method],
  key: Key[Array, ""],
) -> Arrays:
  images: Any = jax.tree.map(jnp.asarray, splits.test)
  generator, _ = methods[0].variables
  features = next(iter(prepared_seed.suite.tests.values()))
  found = classified(generator, config.forms[0], features, images, key)
  return {name: np.asarray(array) for name, array in found.items()}


HEADS_USE = Use(load_images, check_heads, prepare_heads, head_rivals, head_examples)
