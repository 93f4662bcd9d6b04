"""Natural images: few-shot classification on a ResNet-12 of our own, at 32×32.

  python -m launch.run --config configs/tiny_imagenet.py:5w1s \\
      --data PATH/tiny_imagenet.npz --workdir runs/tiny-5w1s

The argument names the form of task: 5w1s (default) or 5w5s; `5w1s-superclass` and
`5w5s-superclass` take the harder split that the `.npz` has as `class_split_superclass`.
Any other set of colour images runs as well, such as miniImageNet in folders train/, val/
and test/ (`--data miniimagenet/`). The ResNet-12 is pretrained by classification of the
training classes, 40 minutes on one CPU core, once for all seeds of the generator;
`launch.pretrain` makes an encoder of it. BUILD_NOTES.md has the figures.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config

SHOTS = {"5w1s": 1, "5w5s": 5}
HARDER = "-superclass"


def get_config(form: str = "5w1s") -> ConfigDict:
  if form.removesuffix(HARDER) not in SHOTS:
    raise InputError(
      f"configs/tiny_imagenet.py:{form} names no form of task: it has {list(SHOTS)}, each "
      f"also with {HARDER}"
    )
  config = to_config_dict(Config())
  config.data.source = "npz"
  config.data.class_split = "class_split_superclass" if form.endswith(HARDER) else ""
  config.data.size = 32
  config.backbone.network = "resnet12"
  config.backbone.objective = "classification"
  config.backbone.unit_length = True
  config.backbone.steps = 5000
  config.backbone.ways = 60
  config.backbone.drawings = 2
  config.backbone.group = 30
  config.backbone.warp = 0.0
  config.backbone.flip = True
  config.backbone.crop = 4
  config.backbone.jitter = 0.2
  config.backbone.validate_every = 1000
  config.backbone.shared = True
  config.meta.ways = (5,)
  config.meta.shots = (SHOTS[form.removesuffix(HARDER)],)
  config.meta.validation_tasks = 4000
  config.generators = ("generated", "generated_finished", "hypernetwork")
  config.seeds = (0, 1, 2)
  config.backbone_dir = "runs/cache/backbone"
  config.bank_dir = "runs/cache/bank"
  return config
