"""What the commands share: flags that are wrong get one sentence."""

import sys
from collections.abc import Callable

from absl import app, flags, logging


def start(main: Callable[[list[str]], None]) -> None:
  """`app.run` with quiet libraries."""
  logging.set_verbosity(logging.WARNING)
  app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  """An unknown or mistyped setting: ml_collections says so with a traceback."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    lines = str(error).replace("\\n", "\n").strip("'\n\"").splitlines()
    sentence = lines[-1].removeprefix("mcdi_jax.lib.errors.InputError: ")
    sys.exit(f"error: {sentence} (the flags: --help)")
