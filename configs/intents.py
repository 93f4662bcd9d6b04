"""Intents: classifiers of sentences, on the features of a sentence encoder.

  python -m launch.embed --data clinc150.jsonl --encoder bert \\
      --encoder_weights all-MiniLM-L6-v2/ --out features/clinc.npz
  python -m launch.run --config configs/intents.py --data features/clinc.npz \\
      --workdir runs/intents

A line of the .jsonl is `{"text": …, "label": …, "class_split": …}`; intents of the test
split are of domains that nothing was trained on. Tasks are of 5 or 15 intents with one
sentence each; tested are 5 and 20. Where lines have a `domain`, a task's intents are of
one:

  python -m launch.run --config configs/intents.py:one_domain \\
      --data features/clinc_domains.npz --workdir runs/intents-of-one-domain
"""

from ml_collections import ConfigDict

from configs import transfer
from mcdi_jax.lib.errors import InputError


def get_config(tasks: str = "") -> ConfigDict:
  config = transfer.get_config()
  if tasks not in ("", "one_domain"):
    raise InputError(f"configs/intents.py:{tasks}: it has :one_domain, or nothing")
  of_one_domain = tasks == "one_domain"
  config.meta.ways = (5,) if of_one_domain else (5, 15)
  config.meta.shots = (1,)
  config.features.ways = (5,) if of_one_domain else (5, 20)
  config.features.shots = (1,) * len(config.features.ways)
  config.features.supports = (600,) * len(config.features.ways)
  config.features.queries = 15
  config.features.ready = ("any-features",)
  config.finishing.feature_power = 1.0
  return config
