"""All weights of a conv-4, generated: Omniglot, 5-way 1-shot, the paper's own setting.

  python -m launch.run --config configs/omniglot_network.py --data PATH/omniglot.npz \\
      --workdir runs/omniglot-network

28,357 weights in 110 tokens: four blocks of width 32 and the head, from a θ_0 that
REPTILE has found as a meta-learner of the classifier itself. θ_0 and the bank are one for
all seeds and are shared through runs/cache. The condition is the support: its features
under θ_0, and its loss gradient there, one backward pass (`score.gradient`).
BUILD_NOTES.md has the figures and how long it takes.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config() -> ConfigDict:
  config = to_config_dict(Config())
  config.family = "networks"
  config.base = "init"
  config.precondition = 0.1
  config.data.source = "npz"
  config.data.class_split = "omniglot"
  config.data.grey = True
  config.data.invert = "auto"
  config.data.size = 28
  config.data.rotations = True
  config.generators = ("generated", "generated_finished", "k1", "naive_targets")
  config.seeds = (0, 1, 2)
  config.initial.steps = 2500
  config.initial.shots = 2
  config.initial.inner_rate = 0.3
  config.initial.rate = 3e-3
  config.preparation.tasks = 2048
  config.preparation.steps = 20
  config.preparation.rate = 0.03
  config.preparation.epsilon = 0.01
  config.preparation.shard_tasks = 128
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.score.network = "tokens"
  config.score.width = 128
  config.score.layers = 2
  config.score.gradient = True
  config.score.summary = 0
  config.meta.steps = 500
  config.meta.tasks = 8
  config.meta.draws = 2
  config.meta.validation_tasks = 500
  config.finishing.steps = 2000
  config.finishing.tasks = 8
  config.finishing.queries = 5
  config.finishing.feature_noise = 0.0
  config.finishing.validate_every = 250
  config.evaluation.tasks = 1000
  config.evaluation.tuning_tasks = 200
  config.evaluation.trials = 12
  config.evaluation.descent_steps = (1, 2, 5, 10, 20, 50)
  config.evaluation.without = ("blocks/*",)
  config.backbone_dir = "runs/cache/initial"
  config.bank_dir = "runs/cache/bank"
  return config
