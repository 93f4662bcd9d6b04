"""Documents: low-rank adapters of a language model, generated from how a document begins.

  python -m launch.run --config configs/documents.py --data documents.jsonl \\
      --config.documents.base=stories-260k/ --workdir runs/documents

The data are a .jsonl of documents with a `text`, a `source` and a `split`, or a folder with
a folder of text files a source. Half of the training documents make the model familiar with
such texts; of the other half the adapters are prepared that a generator learns from. Tested
are documents of the same sources and of sources that nothing was trained on.
docs/documents.md has what is measured so far.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config() -> ConfigDict:
  config = to_config_dict(Config())
  config.family = "documents"
  config.base = "init"
  config.data.source = "texts"
  config.generators = (
    "generated",
    "generated_finished",
    "generated_iterated",
    "hypernetwork",
    "hypernetwork_weights",
    "k1",
    "naive_targets",
  )
  config.seeds = (0, 1, 2)
  config.preparation.tasks = 384
  config.preparation.steps = 12
  config.preparation.rate = 5e-3
  config.preparation.epsilon = 1e-8
  config.preparation.prepare_on = "support_and_query"
  config.preparation.queries = 4
  config.preparation.shard_tasks = 32
  config.diffusion.steps = 3
  config.diffusion.schedule = "linear_auto"
  config.documents.training.steps = 1000
  config.documents.view = 255
  config.score.network = "tokens"
  config.score.width = 128
  config.score.layers = 2
  config.score.gradient = True
  config.score.descends = True
  config.score.position = True
  config.score.summary = 0
  config.meta.support = "kept"
  config.meta.ways = (1,)
  config.meta.shots = (4,)
  config.meta.steps = 120
  config.meta.tasks = 8
  config.meta.validate_every = 60
  config.meta.validation_tasks = 64
  config.finishing.steps = 400
  config.finishing.hypernetwork_steps = 400
  config.finishing.tasks = 4
  config.finishing.queries = 4
  config.finishing.feature_noise = 0.0
  config.finishing.validate_every = 100
  config.evaluation.tasks = 120
  config.evaluation.tuning_tasks = 64
  config.evaluation.trials = 16
  config.evaluation.queries = 4
  config.evaluation.temperatures = (0.0,)
  config.evaluation.descent_steps = (1, 3, 5, 10, 30)
  config.evaluation.refine_from = ("generated_finished",)
  config.evaluation.refine_steps = (1, 3)
  config.evaluation.ensemble = 8
  config.evaluation.passes = 6
  return config
