"""All access to files, local or in a bucket (`gs://`), goes through here."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

Path = epath.Path
PathLike = epath.PathLike


def as_path(path: PathLike) -> Path:
  """An absolute path: Orbax refuses relative ones."""
  path = epath.Path(path).expanduser()
  return path if "://" in str(path) else epath.Path(os.path.abspath(path))


def write_bytes(path: Path, content: bytes) -> None:
  """Writes all or nothing: a temporary neighbour, flushed to disk, then renamed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
  with temporary.open("wb") as f:
    f.write(content)
    f.flush()
    with contextlib.suppress(OSError, AttributeError, ValueError):
      os.fsync(f.fileno())  # a bucket has no descriptor, and needs none
  temporary.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
  write_bytes(path, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_bytes())
  except FileNotFoundError:
    raise MissingError(f"there is no {path}") from None
  except ValueError:
    raise DamagedError(
      f"{path} is not valid JSON: delete it to have it made again"
    ) from None


def append_json(path: Path, content: Mapping[str, Any]) -> None:
  """Appends one JSON line."""
  append_json_lines(path, [content])


def append_json_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("a") as f:
    f.write("".join(json.dumps(line) + "\n" for line in lines))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
  if not path.exists():
    return []
  try:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
  except ValueError:
    raise DamagedError(
      f"{path} has a line that was cut short: delete that line, or the file to have it "
      "made again"
    ) from None


def sha256(path: Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> str:
  """Writes named numpy arrays (safetensors); returns the file's sha256."""
  content = save_safetensors(dict(arrays))
  write_bytes(path, content)
  return hashlib.sha256(content).hexdigest()


def read_arrays(path: Path, digest: str | None = None) -> dict[str, Any]:
  """Reads what `write_arrays` wrote; safetensors itself does not notice a flipped bit.

  Raises:
    MissingError: no such file.
    DamagedError: the content does not have the given sha256, or is no safetensors.
  """
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    raise MissingError(f"there is no {path}") from None
  if digest is not None and hashlib.sha256(content).hexdigest() != digest:
    raise DamagedError(f"{path} is damaged (checksum): delete it to have it made again")
  try:
    return load_safetensors(content)
  except SafetensorError:
    raise DamagedError(f"{path} is damaged: delete it to have it made again") from None


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
  """Holds `directory` for this process; the lock goes with the process, even if killed.

  Raises:
    InputError: another process holds it.
  """
  directory.mkdir(parents=True, exist_ok=True)
  if "://" in str(directory):  # a bucket has no locks: one launcher is presumed
    yield
    return
  import fcntl

  with open(directory / ".lock", "w") as f:
    try:
      fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise InputError(
        f"workdir {directory} is in use by another process: wait for it or name another"
      ) from None
    yield
