"""Runs or continues the whole chain: backbone, bank, meta-training, evaluation.

  python -m launch.run --config configs/quickstart.py --workdir runs/quickstart

Any setting can be overridden, as in --config.meta.steps=500 or --config.seeds="(0,1)".
"""

from absl import app, flags
from ml_collections import config_flags

from mcdi_jax.commands.command import command, settings
from mcdi_jax.data import source_settings
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.pipeline import Config, run

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/; its docstring says what it does and how long."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where everything is written; an interrupted run continues there."
)
_DATA = flags.DEFINE_string(
  "data", None, "A folder of class folders, an .npz, tfds:NAME, or glyphs."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
flags.mark_flags_as_required(["config", "workdir"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"{argv[1]!r} is no flag: settings are given as --config.NAME=…")
  values = settings(_CONFIG)
  if _DATA.value is not None:
    values["data"] |= source_settings(_DATA.value, _DATA_DIR.value)
  run(from_mapping(Config, values), _WORKDIR.value)
