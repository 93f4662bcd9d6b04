"""The full Omniglot, classes split 1028/172/423, rotations as extra classes.

  python -m launch.run --config configs/omniglot.py:5w1s --data PATH/omniglot.npz \\
      --workdir runs/omniglot-5w1s

The argument names the form of task: 5w1s (default), 5w5s, 20w1s, each with three seeds; or
`mixed`, one generator for 2 to 20 ways and 1 to 5 shots. Backbone and bank are shared
through runs/cache. Per seed: backbone half an hour on two CPU cores, once; then on one
two or three minutes each for a generator and for the test; the first seed trains every
generator at three rates and tries 24 settings of each method.
BUILD_NOTES.md has the figures; how fast the result is, python -m launch.benchmark says.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config

FORMS = {
  "5w1s": ((5,), (1,)),
  "5w5s": ((5,), (5,)),
  "20w1s": ((20,), (1,)),
  "mixed": ((2, 5, 10, 20), (1, 2, 5)),
}


def get_config(form: str = "5w1s") -> ConfigDict:
  if form not in FORMS:
    raise InputError(
      f"configs/omniglot.py:{form} names no form of task: it has {list(FORMS)}"
    )
  ways, shots = FORMS[form]
  config = to_config_dict(Config())
  config.data.source = "npz"
  config.data.class_split = "omniglot"
  config.data.grey = True
  config.data.invert = "auto"
  config.data.size = 28
  config.data.rotations = True
  config.generators = ("generated", "generated_finished", "hypernetwork")
  if form == "5w1s":
    config.generators += ("generated_single_level",)
  if form in ("5w1s", "20w1s"):
    config.generators += ("k1", "naive_targets")
  config.seeds = (0, 1, 2)
  config.evaluation.generator_rates = (0.3, 1.0, 3.0)
  config.meta.ways = ways
  config.meta.shots = shots
  if max(ways) == 20:  # four times the work a task
    config.preparation.tasks = 4096
    config.meta.tasks = 8
    config.finishing.tasks = 8
  else:  # a look at 4,000 tasks of 5 ways is as sharp as one at 1,000 of 20
    config.meta.validation_tasks = 4000
  if form == "mixed":
    config.seeds = (0,)
    config.generators = ("generated", "generated_finished")
    config.finishing.steps = 2400
    config.finishing.rate = 3e-4
    config.finishing.validate_every = 600
    config.finishing.save_every = 600
    config.meta.steps = 6000
    config.meta.validate_every = 1500
    config.evaluation.tasks = 2000
    config.evaluation.tuning_tasks = 500
    config.evaluation.generator_rates = (1.0,)  # a training takes half an hour
  config.backbone_dir = "runs/cache/backbone"
  config.bank_dir = "runs/cache/bank"
  return config
