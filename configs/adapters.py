"""Adapters: scale and shift of every normalisation of a ResNet-12, generated with the head.

  python -m launch.run --config configs/adapters.py --data PATH/tiny_imagenet.npz \\
      --config.features.targets="('PATH/pacs.npz','PATH/mnist.npz','PATH/usps.npz')" \\
      --workdir runs/adapters

The encoder is that of `configs/tiny_imagenet.py`, trained on photographs as they are. Tasks
are of one domain each: photographs, or one way of distorting them. Tested are domains
that no task was of: five classes at a time, with 1 and 5 labelled images each.
BUILD_NOTES.md has the figures and how long it takes.
"""

from ml_collections import ConfigDict

from configs import tiny_imagenet
from mcdi_jax.data.distortions import DISTORTIONS, IMITATING


def get_config() -> ConfigDict:
  config = tiny_imagenet.get_config()
  config.family = "adapters"
  config.base = "renormalised"
  config.adapters.distort = tuple(n for n in DISTORTIONS if n not in IMITATING)
  config.adapters.closed_form = "ridge_loo"
  config.adapters.statistics = 0.3
  config.generators = ("generated", "generated_finished", "k1", "naive_targets")
  config.features.shots = (1, 5)
  config.features.ways = (5, 5)
  config.features.supports = (100, 100)
  config.features.queries = 10
  config.preparation.tasks = 384
  config.preparation.steps = 15
  config.preparation.rate = 0.02
  config.preparation.epsilon = 1e-3
  config.preparation.prepare_on = "support_and_query"
  config.preparation.queries = 5
  config.preparation.shard_tasks = 64
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.score.network = "tokens"
  config.score.width = 128
  config.score.facts = True
  config.meta.support = "kept"
  config.meta.ways = (5,)
  config.meta.shots = (1, 5)
  config.meta.steps = 300
  config.meta.tasks = 8
  config.meta.draws = 2
  config.meta.validate_every = 100
  config.meta.validation_tasks = 100
  config.finishing.steps = 500
  config.finishing.tasks = 4
  config.finishing.queries = 5
  config.finishing.feature_noise = 0.0
  config.finishing.validate_every = 125
  config.evaluation.temperatures = (0.0,)
  config.evaluation.tasks = 100
  config.evaluation.tuning_tasks = 32
  config.evaluation.trials = 8
  config.evaluation.queries = 10
  config.evaluation.descent_steps = (1, 3, 10, 30)
  config.evaluation.whole_steps = (10,)
  config.evaluation.refine_from = ("generated_finished",)
  config.evaluation.refine_steps = (1,)
  return config
