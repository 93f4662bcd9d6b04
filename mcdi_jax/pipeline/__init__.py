"""The chain: data → backbone → bank → meta-training → evaluation; one file a stage.

Whatever lies on disk already is not made again, so an interrupted run is continued by
giving the same command; what is deleted is made anew.
"""

from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.own import own_config, own_use
from mcdi_jax.pipeline.own_text import adapt_to_text
from mcdi_jax.pipeline.prediction import generate_from_folder, predict
from mcdi_jax.pipeline.predictions import (
  Predictions,
  predictions_file,
  write_predictions,
)
from mcdi_jax.pipeline.pretrain import pretrain
from mcdi_jax.pipeline.run import run
from mcdi_jax.pipeline.use import Suite, Use

__all__ = [
  "Config",
  "Predictions",
  "Suite",
  "Use",
  "adapt_to_text",
  "generate_from_folder",
  "own_config",
  "own_use",
  "predict",
  "predictions_file",
  "pretrain",
  "run",
  "write_predictions",
]
