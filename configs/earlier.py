"""The settings of an earlier run, from the config.json in its workdir.

  python -m launch.run --config configs/earlier.py:WORKDIR/config.json --workdir runs/again

`--config WORKDIR/config.json` is short for it. Settings can be overridden as always.
"""

from ml_collections import ConfigDict

from mcdi_jax.lib import files
from mcdi_jax.lib.config import from_mapping, to_config_dict
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config


def get_config(path: str = "") -> ConfigDict:
  file = files.as_path(path)
  if not file.is_file():  # a MissingError is an OSError, which would be lost on the way
    raise InputError(
      f"configs/earlier.py:{path} names no run: give configs/earlier.py:WORKDIR/config.json"
    )
  return to_config_dict(from_mapping(Config, files.read_json(file)))
