"""Domain generalisation: a classifier for a domain of which nothing is labelled.

  python -m launch.embed --data pacs.npz --encoder efficientnet-lite0 \\
      --encoder_weights efficientnet-lite0-57934424.pth --out features/pacs.npz
  python -m launch.run --config configs/domains.py:sketch --data features/pacs.npz \\
      --workdir runs/pacs-without-sketch

The domain that is named is left out; what is labelled is of the others. Generators are
trained on tasks across these: labelled items of two of them, queries of the third.

From one source domain to another, with the same classes, each a file:

  python -m launch.run --config configs/domains.py --data features/mnist.npz \\
      --config.features.targets="('features/usps.npz',)" --workdir runs/mnist-to-usps

With a generator of adapters (configs/adapters.py) the data are images, heads are on the
features of its encoder as it is, and what it generates inside is a row beside them:

  python -m launch.run --config configs/domains.py:sketch --data pacs.npz \\
      --config.domains.adapters=runs/adapters/seed_0/generated_finished/generator \\
      --workdir runs/pacs-without-sketch-inside
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config(leave_out: str = "") -> ConfigDict:
  config = to_config_dict(Config())
  config.family = "domains"
  config.data.source = "npz"
  config.domains.leave_out = leave_out
  config.delta_base = "ridge_loo"
  config.generators = ("generated", "generated_delta", "generated_delta_finished")
  config.features.across = 2 if leave_out else 0
  config.features.project = 128
  config.domains.shots = 5 if leave_out else 15
  config.preparation.tasks = 96
  config.preparation.steps = 60
  config.preparation.rate = 2e4
  config.preparation.shard_tasks = 96
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.score.ridge = 4
  config.meta.ways = (4, 7) if leave_out else (5, 10)
  config.meta.shots = (5, 15)
  config.meta.most_items = 150
  config.meta.steps = 30
  config.meta.tasks = 8
  config.meta.draws = 2
  config.meta.validate_every = 30
  config.meta.validation_tasks = 50
  config.finishing.steps = 300
  config.finishing.tasks = 8
  config.finishing.queries = 10
  config.finishing.validate_every = 100
  config.finishing.feature_noise = 0.0
  config.finishing.feature_power = 1.5
  config.evaluation.trials = 24
  config.evaluation.temperatures = (0.0,)
  config.evaluation.queries = 10
  return config
