"""Fields: all weights of a network that holds an image, generated from the image.

  python -m launch.run --config configs/fields.py --workdir runs/fields

Glyphs by default; any images with --data. Three seeds; the bank and the frozen part are
one for all. On one CPU core a seed takes half an hour: 200 s for each generator that is
trained on weights, and 600 s for each that is trained on pixels, from its start on.
BUILD_NOTES.md has the figures.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config() -> ConfigDict:
  config = to_config_dict(Config())
  config.family = "fields"
  config.base = "init"
  config.generators = (
    "generated",
    "generated_finished",
    "hypernetwork",
    "hypernetwork_weights",
    "k1",
    "naive_targets",
  )
  config.seeds = (0, 1, 2)
  config.data.glyph_classes = (800, 100, 200)
  config.preparation.tasks = 4096
  config.preparation.steps = 150
  config.preparation.rate = 0.03
  config.preparation.epsilon = 1e-8
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.score.network = "tokens"
  config.score.width = 128
  config.score.layers = 1
  config.meta.ways = (1,)
  config.meta.shots = (1,)
  config.meta.steps = 1100
  config.meta.validation_tasks = 256
  config.finishing.steps = 13000
  config.finishing.hypernetwork_steps = 30000
  config.finishing.rate = 3e-3
  config.finishing.feature_noise = 0.0
  config.finishing.validate_every = 1000
  config.finishing.save_every = 1000
  config.evaluation.tasks = 1000
  config.evaluation.queries = 1
  config.evaluation.tuning_tasks = 128
  config.evaluation.trials = 8
  config.evaluation.temperatures = (0.0, 0.1, 0.3)
  return config
