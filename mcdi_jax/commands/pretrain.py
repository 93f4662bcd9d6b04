"""Trains an encoder of your own on a set's training classes.

  python -m launch.pretrain --config configs/tiny_imagenet.py --data tiny_imagenet.npz \\
      --out encoders/tiny
  python -m launch.embed --data photos/ --encoder resnet12 \\
      --encoder_weights encoders/tiny --out photos.npz

`config.backbone` says which network, how wide, and how it is trained; an interrupted
command goes on where it was. launch.run with the same config finds the backbone in its
cache. The folder holds weights.safetensors, and in encoder.json what they are.
"""

from absl import flags
from ml_collections import config_flags

from mcdi_jax.commands.command import command, settings
from mcdi_jax.data import source_settings
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import Config, pretrain

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
_DATA = flags.DEFINE_string(
  "data", None, "A folder of class folders, an .npz of images, tfds:NAME, or glyphs."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
_OUT = flags.DEFINE_string("out", None, "The folder that is written.")
flags.mark_flags_as_required(["config", "data", "out"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag: settings are given as --config.NAME=…")
  values = settings(_CONFIG)
  values["data"] |= source_settings(_DATA.value, _DATA_DIR.value)
  made = pretrain(from_mapping(Config, values), _OUT.value)
  reached = [f"{name} {value:.2f}" for name, value in made.validation.items()]
  CONSOLE.print(", ".join([f"{made.name}: {_OUT.value}", *reached]))
