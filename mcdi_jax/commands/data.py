"""What is in a data set, before a run: classes, counts, shapes, splits, a contact sheet.

  python -m launch.data --data my_images/
  python -m launch.data --data omniglot.npz --config configs/omniglot.py
  python -m launch.data --data tfds:omniglot --data_dir ~/tensorflow_datasets \\
      --config configs/omniglot.py
"""

from typing import Any

from absl import flags
from ml_collections import config_flags

from mcdi_jax.commands.command import command, settings, shipped_configs
from mcdi_jax.data import source_settings
from mcdi_jax.data.load import load_images
from mcdi_jax.data.overview import as_png, contact_sheet, is_sheet, overview
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import Config

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  str(shipped_configs() / "own.py"),
  "A file of configs/, for the form of images and the split.",
)
_DATA = flags.DEFINE_string(
  "data", None, "A folder of class folders, an .npz, tfds:NAME, or glyphs."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
_SHEET = flags.DEFINE_string("sheet", "contact-sheet.png", "The picture that is written.")
flags.mark_flag_as_required("data")


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag: settings are given as --config.NAME=…")
  values = settings(_CONFIG)
  values["data"] |= source_settings(_DATA.value, _DATA_DIR.value)
  sheet = _sheet(values["data"])
  splits = load_images(from_mapping(Config, values).data)
  CONSOLE.print(overview(splits))
  files.write_bytes(sheet, as_png(contact_sheet(splits)))
  CONSOLE.print(f"contact sheet: {sheet}")


def _sheet(data: dict[str, Any]) -> files.Path:
  """Where the sheet goes: not into the set, nor over another picture."""
  inputs = data["path"] if data["source"] == "folder" else None
  return outputs.checked(_SHEET.value, "--sheet", outside=inputs, ours=is_sheet)
