"""The backbone and the features of all splits, cached under a hash of what they are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet, Splits, with_rotations
from mcdi_jax.data.augment import warp
from mcdi_jax.data.class_set import take_classes, to_unit
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, is_finished, load_tree, save_tree
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.loop import Metrics, train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.networks import Network, backbone, fit_standardisation, with_statistics
from mcdi_jax.networks.pretrain import embed, pretrained, pretraining
from mcdi_jax.networks.validation import validation
from mcdi_jax.pipeline.config import Config

_SAVE_EVERY = 400


class EmbeddedSplits(NamedTuple):
  """Sets of features; with rotations, the classes are those of all four turns.

  Attributes:
    upright_test: the test classes as they are.
  """

  train: ClassSet
  val: ClassSet
  test: ClassSet
  upright_test: ClassSet


class Backbone(NamedTuple):
  """network: images → standardised features. params: of it. digest: sha256 of what it
  was made from. directory: its cache."""

  network: Network
  params: Any
  digest: str
  directory: Path


def backbone_seed(config: Config, seed: int) -> int:
  """Of the backbone that a seed of the generators has: its own, or one for all of them,
  that of the bank. Adapters always have one: what is generated lies inside it."""
  one = config.backbone.shared or config.family == "adapters"
  return config.preparation.seed if one else seed


def prepare_backbone(
  config: Config, splits: Splits, directory: Path, metrics: Path, seed: int
) -> Backbone:
  """Reads or trains the backbone of this seed. Its folder in `directory` is named by a
  hash of all that determines it; another process that works there is waited for."""
  asked = config.backbone
  content = {
    "data": splits.digest,
    "rotations": config.data.rotations,
    "backbone": asked.content(),
    "matmul_precision": config.matmul_precision,
    "seed": seed,
  }
  digest = content_hash(content)
  place = directory / digest[:16]
  network = backbone(asked.architecture, splits.image_shape, unit_length=asked.unit_length)
  k_init, k_run = jax.random.split(key_for(seed, "backbone"))
  if not is_finished(place / "params"):
    with files.exclusive(place, wait=True):
      if not is_finished(place / "params"):
        write = lambda line: files.append_json(  # noqa: E731
          metrics, {"phase": "backbone", "seed": seed, **line}
        )
        params = _train(config, splits, place, write, k_init, k_run)
        save_tree(place / "params", params)
        return Backbone(network, params, digest, place)
  CONSOLE.print(f"backbone, seed {seed}: found in {place}")
  params = load_tree(place / "params", jax.eval_shape(network.init, k_init))
  return Backbone(network, params, digest, place)


def _train(
  config: Config,
  splits: Splits,
  place: Path,
  write: Callable[[Metrics], None],
  k_init: Key[Array, ""],
  k_run: Key[Array, ""],
) -> Any:
  """The params, standardisation included."""
  asked = config.backbone
  bare = asked.architecture.of_images(splits.image_shape)
  images = _turned(splits.train, config)
  init, step = pretraining(bare, asked, images)
  apply = with_statistics(bare).apply
  state = train(
    lambda state, key: step(state, key, images),
    init(k_init),
    k_run,
    steps=asked.steps,
    title="backbone",
    write=write,
    validate=_validate(config, splits, apply) if asked.validate_every else None,
    validate_every=asked.validate_every,
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=_SAVE_EVERY,
    remedy="lower config.backbone.rate and name another --workdir, as one belongs to one "
    "config",
  )
  params = pretrained(state, asked)
  return fit_standardisation(params, embed(apply, params, images).x)


def _validate(config: Config, splits: Splits, apply: Callable[..., Any]) -> Any:
  """How good prototypes of validation classes are; it changes nothing."""
  items = _turned(splits.val, config)
  look = validation(apply, key_for(0, "validation of the backbone"))
  return lambda state: (state, look(pretrained(state, config.backbone), items))


def _turned(images: ClassSet, config: Config) -> ClassSet:
  images = jax.tree.map(jnp.asarray, images)
  return with_rotations(images) if config.data.rotations else images


def embed_splits(config: Config, splits: Splits, backbone: Backbone) -> EmbeddedSplits:
  """Reads or computes the features of every image of every split."""
  sets = {name: getattr(splits, name) for name in ("train", "val", "test")}
  turned = {name: _turned(images, config) for name, images in sets.items()}
  path = backbone.directory / "features.safetensors"
  if not files.is_finished(path):
    with files.exclusive(backbone.directory, wait=True):
      if not files.is_finished(path):
        CONSOLE.print("features: one pass over all images")
        apply = backbone.network.apply
        found = {n: embed(apply, backbone.params, images).x for n, images in turned.items()}
        files.write_checked_arrays(path, found)
  x = files.read_checked_arrays(path)
  found = {n: images._replace(x=jnp.asarray(x[n])) for n, images in turned.items()}
  upright = take_classes(found["test"], 0, splits.test.classes)
  return EmbeddedSplits(**found, upright_test=upright)


def augmented_features(
  config: Config, splits: Splits, backbone: Backbone, features: ClassSet
) -> ClassSet:
  """x [n, 1 + copies, D]: each training image's features, then those of its warps."""
  versions = [features.x]
  apply = backbone.network.apply
  images = _turned(splits.train, config)
  key = key_for(config.preparation.seed, "warps")

  @jax.jit
  def warped(params: Any, images: Array, keys: Key[Array, " n"]) -> Array:
    one = lambda image, key: apply(params, warp(to_unit(image), key)[None])[0]  # noqa: E731
    return jax.lax.map(lambda own: one(*own), (images, keys), batch_size=256)

  for copy in range(config.preparation.augment_copies):
    keys = jax.random.split(jax.random.fold_in(key, copy), len(images.x))
    versions.append(warped(backbone.params, images.x, keys))
  return features._replace(x=jnp.stack(versions, axis=1))
