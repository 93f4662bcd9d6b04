"""A backbone of our own as an encoder: trained once, and a folder that others read."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mcdi_jax.data import Splits
from mcdi_jax.encoders.own import MANIFEST, WEIGHTS, write_encoder
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.provenance import commit, versions
from mcdi_jax.networks.validation import validation
from mcdi_jax.pipeline.backbone import Backbone, backbone_seed, prepare_backbone
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.heads import check_pretraining, load_images
from mcdi_jax.pipeline.use import cache


class Pretrained(NamedTuple):
  """What a folder holds: the architecture's name, and what validation classes say."""

  name: str
  validation: dict[str, float]


def pretrain(config: Config, out: PathLike) -> Pretrained:
  """Trains the backbone of a config on its training classes, or goes on, and writes it.

  It is that of the config's first seed, or the one that all seeds share. `launch.run`
  finds it where `config.backbone_dir` is set for both; else the folder alone has it.

  Raises:
    InputError: another encoder's folder, or images that do not suffice.
  """
  out = outputs.checked(out, "--out", folder=True)
  splits, seed = load_images(config), backbone_seed(config, config.seeds[0])
  check_pretraining(config, splits)
  about = _about(config, splits, seed)
  _check_out(out, about)
  directory = cache(config.backbone_dir, out / "backbone")
  with jax.default_matmul_precision(config.matmul_precision):
    made = prepare_backbone(config, splits, directory, out / "metrics.jsonl", seed)
    reached = _reached(config, splits, made)
  write_encoder(out, made.params, {**about, "validation": reached})
  return Pretrained(config.backbone.architecture.name, reached)


def _about(config: Config, splits: Splits, seed: int) -> dict[str, Any]:
  """The form of the encoder, and what it is made from."""
  return {
    "network": config.backbone.network,
    "widths": list(config.backbone.architecture.widths),
    "image_shape": list(splits.image_shape),
    "trained_on": {
      "data": splits.name,
      "content": splits.digest,
      "classes": list(splits.classes[0]),
      "images": len(splits.train.x),
      "rotations": config.data.rotations,
    },
    "backbone": dataclasses.asdict(config.backbone),
    "matmul_precision": config.matmul_precision,
    "seed": seed,
    "commit": commit(),
    "versions": versions(),
  }


def _check_out(out: Path, about: dict[str, Any]) -> None:
  place = out / MANIFEST
  if not place.exists():
    if out.exists() and (out / WEIGHTS).exists():
      raise InputError(f"--out {out} holds other weights: name a new folder")
    return
  before, now = files.read_json(place), files.plain(about, MANIFEST)
  own = ("commit", "versions")
  differing = sorted(n for n in now if n not in own and before.get(n) != now[n])
  if differing:
    raise InputError(
      f"--out {out} holds another encoder ({', '.join(differing)} differ): name a new "
      "folder"
    )


def _reached(config: Config, splits: Splits, made: Backbone) -> dict[str, float]:
  """Of the validation classes; nothing where none were looked at in training."""
  if not config.backbone.validate_every:
    return {}
  look = validation(made.network.apply, key_for(0, "validation of the backbone"))
  found = look(made.params, jax.tree.map(jnp.asarray, splits.val))
  return {name: float(value) for name, value in found.items()}
