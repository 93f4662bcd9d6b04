"""What is in a data set, before a run: classes, counts, shapes, splits, a contact sheet.

  python -m launch.data --data my_images/
  python -m launch.data --data omniglot.npz --config configs/omniglot.py
  python -m launch.data --data tfds:omniglot --data_dir ~/tensorflow_datasets \\
      --config configs/omniglot.py
"""

from absl import app, flags
from ml_collections import config_flags

from mcdi_jax.commands.command import command, settings, shipped_configs
from mcdi_jax.data import contact_sheet, load_splits, overview, source_settings
from mcdi_jax.lib import files
from mcdi_jax.lib.config import from_mapping
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
    raise app.UsageError(f"{argv[1]!r} is no flag: settings are given as --config.NAME=…")
  values = settings(_CONFIG)
  values["data"] |= source_settings(_DATA.value, _DATA_DIR.value)
  splits = load_splits(from_mapping(Config, values).data)
  CONSOLE.print(overview(splits))
  sheet = files.as_path(_SHEET.value)
  sheet.parent.mkdir(parents=True, exist_ok=True)
  with sheet.open("wb") as f:
    contact_sheet(splits).save(f, "PNG")
  CONSOLE.print(f"contact sheet: {sheet}")
