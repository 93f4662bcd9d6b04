"""What the commands share: flags that are wrong get one sentence, and configs are found
wherever the package is installed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

import configs
from mcdi_jax.lib.errors import InputError

_CONFIGS = Path(configs.__file__).parent


def start(main: Callable[[list[str]], None]) -> None:
  """`app.run` with quiet libraries."""
  logging.set_verbosity(logging.WARNING)
  app.run(main, argv=located(sys.argv), flags_parser=_parse)


def settings(config: flags.FlagHolder[ConfigDict]) -> dict[str, Any]:
  """What a `--config` flag and its overrides say."""
  try:
    return config.value.to_dict()
  except InputError as error:
    sys.exit(f"error: {error}")
  except OSError:
    sys.exit("error: --config names no file: give one of configs/")


def located(argv: list[str]) -> list[str]:
  """`--config configs/X.py` outside of a checkout is the installed one; a `config.json`
  that a run has written gives that run's settings."""
  found, expected = [], False
  for argument in argv:
    flag, equals, value = argument.partition("=")
    if expected:
      found.append(_located(argument))
    elif flag in ("--config", "-config") and equals:
      found.append(f"{flag}={_located(value)}")
    else:
      found.append(argument)
    expected = argument in ("--config", "-config")
  return found


def _located(config: str) -> str:
  if config.endswith(".json") and ".py:" not in config:
    return f"{_CONFIGS / 'earlier.py'}:{config}"
  path, colon, argument = config.partition(":")
  installed = _CONFIGS / Path(path).name
  if Path(path).parts[:1] == ("configs",) and not Path(path).exists():
    path = str(installed) if installed.exists() else path
  return path + colon + argument


def _parse(argv: list[str]) -> list[str]:
  """An unknown or mistyped setting: ml_collections says so with a traceback."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    lines = str(error).replace("\\n", "\n").strip("'\n\"").splitlines()
    sentence = lines[-1].split("Error: ", 1)[-1] if lines else type(error).__name__
    sys.exit(f"error: {sentence} (the flags: --help)")
