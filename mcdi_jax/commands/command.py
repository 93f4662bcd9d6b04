"""What the commands share: whatever is wrong gets one sentence, an interruption one line,
and configs are found wherever the package is installed."""

import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

import mcdi_jax
from mcdi_jax.lib.errors import InputError

_INTERRUPTED = "interrupted: the same command continues"


def shipped_configs() -> Path:
  """The files of configs/: inside the package once it is installed, beside it in a
  checkout."""
  package = Path(mcdi_jax.__file__).parent
  inside = package / "configs"
  return inside if inside.is_dir() else package.parent / "configs"


def command(main: Callable[[list[str]], None]) -> Callable[[], None]:
  """Makes `main(argv)` of a module a command: `--help` is the module's docstring and its
  flags.

  LAPACK, which decomposes small matrices here, gets one thread: several wait for one
  another in loops, which on a core that other work shares takes a thousand times as long as
  the decomposition.
  """

  @functools.wraps(main)
  def start() -> None:
    for stream in (sys.stdout, sys.stderr):
      if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    end_at_signals()
    logging.set_verbosity(logging.WARNING)
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
      flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    guarded = functools.partial(in_one_sentence, main)
    with threadpool_limits(1, user_api="blas"):
      app.run(guarded, argv=located(sys.argv), flags_parser=_parse)

  return start


def in_one_sentence(main: Callable[[list[str]], None], argv: list[str]) -> None:
  """Runs `main`; what a user can mend ends it with one sentence instead of a traceback."""
  try:
    main(argv)
  except InputError as error:
    sys.exit(f"error: {error}")
  except OSError as error:  # no space left, nothing may be written there, …
    where = f"{error.filename}: " if error.filename else ""
    sys.exit(
      f"error: {where}{error.strerror or error}; with that mended, the same command goes on"
    )
  except KeyboardInterrupt:
    print(_INTERRUPTED, file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def end_at_signals() -> None:
  """SIGINT and SIGTERM end the process with one line, at once.

  Whatever is written is written whole, so nothing is lost by it. Python's own handlers
  run when the main thread comes back from compiling, which may take minutes, and leave
  thousands of lines of other threads; here a thread waits for the signal's number.
  """
  waits, wakes = os.pipe()
  os.set_blocking(wakes, False)
  signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
  threading.Thread(target=_end, args=(waits,), daemon=True).start()


def _end(waits: int) -> None:
  number = os.read(waits, 1)[0]
  if os.isatty(1):
    os.write(1, b"\x1b[?25h\n")  # a bar hides the cursor
  os.write(2, _INTERRUPTED.encode() + b"\n")
  os._exit(128 + number)


def settings(config: flags.FlagHolder[ConfigDict]) -> dict[str, Any]:
  """What a `--config` flag and its overrides say."""
  try:
    return config.value.to_dict()
  except InputError:
    raise
  except AttributeError:
    kind = type(config.value).__name__
    raise InputError(f"get_config of --config gives a {kind}: give a ConfigDict") from None
  except OSError:
    raise InputError("--config names no file: give one of configs/") from None


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
    return f"{shipped_configs() / 'earlier.py'}:{config}"
  path, colon, argument = config.partition(":")
  shipped = shipped_configs() / Path(path).name
  if Path(path).parts[:1] == ("configs",) and not Path(path).exists():
    path = str(shipped) if shipped.exists() else path
  return path + colon + argument


def _parse(argv: list[str]) -> list[str]:
  """An unknown or mistyped setting, or a config that is no program: ml_collections says so
  with a traceback."""
  try:
    return flags.FLAGS(argv)
  except SyntaxError as error:
    sys.exit(f"error: {error.filename} is no Python: {error.msg}, line {error.lineno}")
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    sys.exit(f"error: {_sentence(error)} (the flags: --help)")
  except Exception as error:  # a config may raise any
    kind = type(error).__name__
    sys.exit(f"error: --config cannot be read ({kind}: {_sentence(error)}): mend it")


def _sentence(error: Exception) -> str:
  lines = str(error).replace("\\n", "\n").strip().splitlines()
  found = lines[-1].split("Error: ", 1)[-1] if lines else type(error).__name__
  while len(found) > 1 and found[0] == found[-1] and found[0] in "'\"":
    found = found[1:-1]
  if "get_config() takes 0 positional" in found:
    return "--config names a form behind a colon, and this config has none"
  if isinstance(error, (AttributeError, KeyError)) and found.isidentifier():
    return f"there is no setting {found!r}"
  return found
