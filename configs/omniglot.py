"""The full Omniglot, classes split 1028/172/423, rotations as extra classes.

  python -m launch.run --config configs/omniglot.py:5w1s --data PATH/omniglot.npz \\
      --workdir runs/omniglot-5w1s

The argument names the form of task: 5w1s (default), 5w5s or 20w1s.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.pipeline import Config


def get_config(form: str = "5w1s") -> ConfigDict:
  ways, shots = form.removesuffix("s").split("w")
  config = to_config_dict(Config())
  config.data.source = "npz"
  config.data.rotations = True
  config.generators = ("generated", "generated_single_level")
  config.seeds = (0, 1, 2)
  config.meta.ways = (int(ways),)
  config.meta.shots = (int(shots),)
  config.backbone_dir = "runs/cache/backbone"
  config.bank_dir = "runs/cache/bank"
  return config
