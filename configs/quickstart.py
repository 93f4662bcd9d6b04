"""Glyphs, 5-way 1-shot: no download, from nothing to the table in under 5 minutes on two
CPU cores.

  python -m launch.run --config configs/quickstart.py --workdir runs/quickstart
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config() -> ConfigDict:
  config = to_config_dict(Config())
  config.data.source = "glyphs"
  config.data.glyph_classes = (800, 100, 200)
  config.backbone.width = 32
  config.backbone.steps = 300
  config.backbone.ways = 30
  config.preparation.tasks = 8192
  config.meta.steps = 300
  config.meta.validate_every = 150
  config.evaluation.tasks = 2000
  config.evaluation.tuning_tasks = 300
  config.evaluation.trials = 12  # rather than 24, to be quick
  config.evaluation.temperatures = (0.0,)
  return config
