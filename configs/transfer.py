"""Transfer: classifiers on an encoder's features, for whole data sets never seen.

  python -m launch.embed --data tiny_imagenet.npz --encoder efficientnet-lite0 \\
      --encoder_weights efficientnet-lite0-57934424.pth --out features/tiny_imagenet.npz \\
      --distort blurred --distort noisy --distort rotated --distorted_per_class 40
  python -m launch.run --config configs/transfer.py --data features/tiny_imagenet.npz \\
      --config.features.targets="('features/cifar10.npz','features/pacs.npz')" \\
      --workdir runs/transfer

The source needs its classes split (`class_split`), or they are split at random. Generators
are trained on tasks of 5, 10 or 20 of its classes, each task of one domain, with 1, 5 or 20
labelled items a class and 200 at most, and tested on all classes of each target at once.
BUILD_NOTES.md has the figures and how long it takes.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config() -> ConfigDict:
  config = to_config_dict(Config())
  config.family = "features"
  config.data.source = "npz"
  config.delta_base = "ridge_loo"
  config.generators = (
    "generated",
    "generated_delta",
    "generated_delta_finished",
    "generated_finished",
    "hypernetwork",
    "k1",
  )
  config.seeds = (0, 1, 2)
  config.features.project = 128
  config.preparation.tasks = 768
  config.preparation.steps = 60
  config.preparation.rate = 2e4
  config.preparation.shard_tasks = 256
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.score.ridge = 4
  config.meta.ways = (5, 10, 20)
  config.meta.shots = (1, 5, 20)
  config.meta.most_items = 200
  config.meta.steps = 100
  config.meta.tasks = 8
  config.meta.draws = 2
  config.meta.validate_every = 100
  config.meta.validation_tasks = 200
  config.finishing.steps = 1200
  config.finishing.hypernetwork_steps = 1200
  config.finishing.tasks = 8
  config.finishing.queries = 10
  config.finishing.validate_every = 400
  config.finishing.feature_noise = 0.0
  config.finishing.feature_power = 1.5
  config.evaluation.tuning_tasks = 200
  config.evaluation.trials = 16
  config.evaluation.temperatures = (0.0,)
  config.evaluation.queries = 20
  return config
