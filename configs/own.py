"""Your own images: a folder with a folder of images a class.

  python -m launch.run --config configs/own.py --data my_images/ --workdir runs/own

For drawings and signs as it stands: 28×28, grey, ink bright on dark ground (found out and
mended). `configs/own.py:photos` keeps colours, at 32×32. It needs about 32 classes, whose
split into training, validation and test is random, of at least 6 images each; 3 minutes on
two CPU cores. More steps and a wider backbone (configs/omniglot.py) are worth their time.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config

KINDS = ("drawings", "photos")


def get_config(kind: str = "drawings") -> ConfigDict:
  if kind not in KINDS:
    raise InputError(f"configs/own.py:{kind} names no kind of images: it has {KINDS}")
  config = to_config_dict(Config())
  config.data.source = "folder"
  drawings = kind == "drawings"
  config.data.size = 28 if drawings else 32
  config.data.grey = drawings
  config.data.invert = "auto" if drawings else "never"
  config.data.rotations = drawings
  config.backbone.width = 32
  config.backbone.steps = 600
  config.backbone.ways = 15
  config.backbone.drawings = 5
  config.preparation.tasks = 4096
  config.meta.steps = 500
  config.meta.validate_every = 100
  config.evaluation.queries = 5
  config.evaluation.tasks = 2000
  config.evaluation.tuning_tasks = 300
  return config
