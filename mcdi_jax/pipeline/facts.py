"""What all of a seed's results share."""

import dataclasses
from typing import Any

from mcdi_jax.data import DataConfig
from mcdi_jax.evaluation import Facts
from mcdi_jax.generator.storage import fingerprint, load_generator
from mcdi_jax.lib import files
from mcdi_jax.lib.config import content_hash
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.use import Prepared


def result_facts(config: Config, data: Any, prepared: Prepared, seed: int) -> Facts:
  """What all of a seed's lines share; whence the images were read, and where files lie,
  is no part of the config's hash; the seed that settings were chosen with is."""
  content = DataConfig(path=data.digest, rotations=config.data.rotations)
  places: dict[str, Any] = {"backbone_dir": "", "bank_dir": ""}
  ready = tuple(fingerprint(load_generator(name)) for name in config.features.ready)
  places["features"] = dataclasses.replace(config.features, targets=(), ready=ready)
  if name := config.domains.adapters:
    inside = fingerprint(load_generator(name))
    places["domains"] = dataclasses.replace(config.domains, adapters=inside)
  if imported := config.imported_bank:
    manifest = files.read_json(files.as_path(imported) / "manifest.json", "hash")
    places["imported_bank"] = manifest["hash"]
  same = dataclasses.replace(config, data=content, seeds=(seed,), **places)
  return Facts(
    backbone=prepared.backbone,
    matmul_precision=config.matmul_precision,
    family=prepared.family,
    data=data.name,
    seed=seed,
    eval_seed=config.evaluation.eval_seed,
    config=content_hash({"config": same, "tuned_with": config.seeds[0]}),
  )
