"""Runs or continues the whole chain: backbone, bank, meta-training, evaluation.

  python -m launch.run --config configs/quickstart.py --workdir runs/quickstart

Any setting can be overridden, as in --config.meta.steps=500 or --config.seeds="(0,1)".
A config file that also has FAMILY and get_suite trains generators for a network of your
own (docs/own_network.md).
"""

import importlib.util
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from mcdi_jax.commands.command import command, settings
from mcdi_jax.data import source_settings
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config, Use, own_use, run

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/; its docstring says what it does and how long."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where everything is written; an interrupted run continues there."
)
_DATA = flags.DEFINE_string(
  "data",
  None,
  "A folder of class folders, an .npz of images or features, tfds:NAME, a .jsonl of texts, "
  "a folder of folders of texts, or glyphs.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
flags.mark_flags_as_required(["config", "workdir"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag: settings are given as --config.NAME=…")
  values = settings(_CONFIG)
  if _DATA.value is not None:
    values["data"] |= source_settings(_DATA.value, _DATA_DIR.value)
  use = _use_of(config_flags.get_config_filename(flags.FLAGS["config"]))
  if use is not None:
    values["family"] = "own"
  run(from_mapping(Config, values), _WORKDIR.value, use)


def _use_of(path: str) -> Use | None:
  """The use that a config file defines; None: it is one of the package's."""
  place = Path(path)
  name = f"mcdi_config_{place.stem}"
  spec = importlib.util.spec_from_file_location(name, place)
  if spec is None or spec.loader is None:
    return None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module  # dataclasses look their own module up
  spec.loader.exec_module(module)
  family = getattr(module, "FAMILY", None)
  if family is None:
    return None
  if not hasattr(module, "get_suite"):
    raise InputError(f"--config {path} has FAMILY but no get_suite: give it one")
  return own_use(family, module.get_suite)
