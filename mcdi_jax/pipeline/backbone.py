"""The backbone and the features of all splits, cached under a hash of what they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import ClassSet, Splits, with_rotations
from mcdi_jax.data.augment import warp
from mcdi_jax.data.class_set import take_classes, to_unit
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, load_tree, save_tree
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.loop import train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.networks import Network, backbone, conv4, fit_standardisation
from mcdi_jax.networks.pretrain import embed, pretraining
from mcdi_jax.pipeline.config import Config

_SAVE_EVERY = 400


class Features(NamedTuple):
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


def prepare_backbone(
  config: Config, splits: Splits, directory: Path, metrics: Path, seed: int
) -> Backbone:
  """Reads or trains the backbone of this seed."""
  content = {
    "data": splits.digest,
    "rotations": config.data.rotations,
    "backbone": config.backbone,
    "seed": seed,
    "matmul_precision": config.matmul_precision,
  }
  digest = content_hash(content)
  place = directory / digest[:16]
  network = backbone(splits.image_shape, config.backbone.width)
  k_init, k_run = jax.random.split(key_for(seed, "backbone"))
  if (place / "params").exists():
    CONSOLE.print(f"backbone: found in {place}")
    params = load_tree(place / "params", jax.eval_shape(network.init, k_init))
    return Backbone(network, params, digest, place)
  bare = conv4(splits.image_shape, config.backbone.width)
  init, step = pretraining(bare, config.backbone)
  images = _turned(splits.train, config)
  who = {"phase": "backbone", "seed": seed}
  state = train(
    lambda state, key: step(state, key, images),
    init(k_init),
    k_run,
    steps=config.backbone.steps,
    title="backbone",
    write=lambda line: files.append_json(metrics, {**who, **line}),
    checkpoints=Checkpoints(place / "checkpoints"),
    save_every=_SAVE_EVERY,
  )
  params = fit_standardisation(state.params, embed(bare.apply, state.params, images).x)
  save_tree(place / "params", params)
  return Backbone(network, params, digest, place)


def _turned(images: ClassSet, config: Config) -> ClassSet:
  images = jax.tree.map(jnp.asarray, images)
  return with_rotations(images) if config.data.rotations else images


def embed_splits(config: Config, splits: Splits, backbone: Backbone) -> Features:
  """Reads or computes the features of every image of every split."""
  sets = {name: getattr(splits, name) for name in ("train", "val", "test")}
  turned = {name: _turned(images, config) for name, images in sets.items()}
  path = backbone.directory / "features.safetensors"
  digest_path = backbone.directory / "features.json"
  if digest_path.exists() and path.exists():
    x = files.read_arrays(path, files.read_json(digest_path)["sha256"])
  else:
    CONSOLE.print("features: one pass over all images")
    apply = backbone.network.apply
    x = {
      name: np.asarray(embed(apply, backbone.params, images).x)
      for name, images in turned.items()
    }
    files.write_json(digest_path, {"sha256": files.write_arrays(path, x)})
  found = {n: images._replace(x=jnp.asarray(x[n])) for n, images in turned.items()}
  upright = take_classes(found["test"], 0, splits.test.classes)
  return Features(**found, upright_test=upright)


def augmented_features(
  config: Config, splits: Splits, backbone: Backbone, features: ClassSet
) -> ClassSet:
  """x [n, 1 + copies, D]: each training image's features, then those of its warps."""
  versions = [features.x]
  apply = backbone.network.apply
  images = _turned(splits.train, config)
  key = key_for(config.preparation.seed, "warps")
  for copy in range(config.preparation.augment_copies):
    keys = jax.random.split(jax.random.fold_in(key, copy), len(images.x))
    one = lambda p, x, k: apply(p, warp(to_unit(x), k)[None])[0]  # noqa: E731
    warped = jax.jit(
      lambda p, xs, ks, one=one: jax.lax.map(
        lambda xk: one(p, *xk), (xs, ks), batch_size=256
      )
    )
    versions.append(warped(backbone.params, images.x, keys))
  return features._replace(x=jnp.stack(versions, axis=1))
