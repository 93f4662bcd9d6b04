"""All access to files, local or in a bucket (`gs://`), goes through here."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from etils import epath
from safetensors.numpy import save as save_safetensors

from mcdi_jax.lib import disk
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

Path = epath.Path
PathLike = epath.PathLike


def as_path(path: PathLike) -> Path:
  """An absolute path: Orbax refuses relative ones."""
  path = epath.Path(path).expanduser()
  return path if "://" in str(path) else epath.Path(os.path.abspath(path))


def given(path: PathLike, setting: str) -> Path:
  """The path of what there must be.

  Raises:
    MissingError: no path, or nothing there.
  """
  if not str(path).strip():
    raise MissingError(f"{setting} is empty: name a file or a folder")
  found = as_path(path)
  if not found.exists():
    raise MissingError(f"{setting} is {str(path)!r}, where there is nothing: name another")
  return found


# What a safetensors file calls a dtype. Its own numpy reader does not know the last six.
_DTYPES = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U64": np.uint64,
  "U32": np.uint32,
  "U16": np.uint16,
  "U8": np.uint8,
  "BOOL": np.bool_,
  "C64": np.complex64,
  "BF16": ml_dtypes.bfloat16,
  "F8_E4M3": ml_dtypes.float8_e4m3fn,
  "F8_E5M2": ml_dtypes.float8_e5m2,
  "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
  "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
  "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}
DTYPES = tuple(str(np.dtype(dtype)) for dtype in _DTYPES.values())
_AGAIN = "delete it and run the command that made it, or bring another copy"
_NUMBERS = set(DTYPES) - {"complex64"}


def write_bytes(path: Path, content: bytes) -> None:
  """Writes all or nothing: a temporary neighbour, flushed to disk, then renamed."""
  disk.mkdir(path.parent)
  temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
  disk.write_point(path)
  with disk.writing(path):
    try:
      with temporary.open("wb") as f:
        f.write(content)
        f.flush()
        with contextlib.suppress(AttributeError, ValueError):
          os.fsync(f.fileno())  # a bucket has no descriptor, and needs none
      temporary.replace(path)
    except BaseException:  # a full disk needs its room back
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
      raise
  disk.write_point(path)


def remove(path: Path) -> None:
  """Removes the file, if it is there."""
  if path.exists():
    disk.write_point(path)
    with disk.writing(path):
      path.unlink(missing_ok=True)
    disk.write_point(path)


def read_bytes(path: Path) -> bytes:
  try:
    return path.read_bytes()
  except FileNotFoundError:
    raise MissingError(f"there is no {path}") from None
  except OSError as error:
    reason = error.strerror or type(error).__name__
    raise InputError(f"cannot read {path} ({reason}): name a file to be read") from error


def plain(value: Any, where: str) -> Any:
  """`value` as JSON holds it: numbers and arrays of numpy or jax become Python's, tuples
  become lists.

  Args:
    where: what the value is called in the error.

  Raises:
    InputError: something that JSON has no form for, by name.
  """
  if value is None or isinstance(value, (str, bool, int, float)):
    return value
  if isinstance(value, Mapping):
    for name in value:
      if not isinstance(name, str):
        raise InputError(f"{where} has the key {name!r}: JSON has names only, such as '1'")
    return {name: plain(inside, f"{where}.{name}") for name, inside in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(inside, f"{where}[{n}]") for n, inside in enumerate(value)]
  if str(getattr(value, "dtype", None)) in _NUMBERS:
    array = np.asarray(value)
    return (array if array.dtype.kind in "biu" else array.astype(np.float64)).tolist()
  kind = type(value).__name__
  raise InputError(
    f"{where} is of type {kind}: give what JSON can hold, such as a text of it"
  )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
  """Nothing is written where the content has no form in JSON (InputError)."""
  text = json.dumps(plain(content, path.name), indent=2, sort_keys=True)
  write_bytes(path, text.encode() + b"\n")


def from_json(text: str | bytes) -> Any:
  """What a text says in JSON; None where it is none, however deep or long it is."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return None


def read_json(path: Path, *keys: str) -> dict[str, Any]:
  """Reads what `write_json` wrote.

  Args:
    keys: those that it must have.

  Raises:
    MissingError: no such file.
    DamagedError: no JSON, or of another shape.
  """
  content = from_json(read_bytes(path))
  if content is None:
    raise DamagedError(f"{path} is not valid JSON: {_AGAIN}")
  return check_keys(path, content, *keys)


def check_keys(path: Path, content: Any, *keys: str) -> dict[str, Any]:
  """`content`, which was read from `path`, if it is a JSON object with these keys.

  Raises:
    DamagedError: it is not.
  """
  if not isinstance(content, dict):
    wrong = f"holds a {type(content).__name__}, not named values"
  elif lacking := [key for key in keys if key not in content]:
    wrong = f"lacks {', '.join(lacking)}"
  else:
    return content
  raise DamagedError(f"{path} {wrong}: {_AGAIN}")


def append_json(path: Path, content: Mapping[str, Any]) -> None:
  """Appends one JSON line."""
  append_json_lines(path, [content])


def append_json_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
  """Appends, on a fresh line: a kill may have left half a line behind."""
  text = "".join(json.dumps(plain(line, path.name)) + "\n" for line in lines)
  disk.mkdir(path.parent)
  disk.write_point(path)
  with disk.writing(path):
    begin = "" if _ends_a_line(path) else "\n"
    with path.open("a") as f:
      f.write(begin + text)
  disk.write_point(path)


def is_json_lines(content: bytes) -> bool:
  """Whether each line of a file is an object, as `append_json_lines` writes them."""
  lines = filter(bytes.strip, content.split(b"\n"))
  return all(isinstance(from_json(line), dict) for line in lines)


def _ends_a_line(path: Path) -> bool:
  if not path.exists() or not path.stat().length:
    return True
  with path.open("rb") as f:
    f.seek(-1, os.SEEK_END)
    return f.read() == b"\n"


def read_json_lines(path: Path, *, tolerant: bool = False) -> list[dict[str, Any]]:
  """One object a line; none where there is no file.

  Args:
    tolerant: leaves out lines that were cut short, as a kill does to a log.

  Raises:
    DamagedError: a line that is no object, unless tolerant.
  """
  if not path.exists():
    return []
  found = []
  for line in filter(bytes.strip, read_bytes(path).split(b"\n")):
    content = from_json(line)
    if isinstance(content, dict):
      found.append(content)
    elif not tolerant:
      raise DamagedError(
        f"{path} has a line that was cut short: delete that line, or {_AGAIN}"
      )
  return found


def sha256(path: Path) -> str:
  return hashlib.sha256(read_bytes(path)).hexdigest()


def write_arrays(
  path: Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None
) -> str:
  """Writes named arrays (safetensors), whatever their layout in memory, of the dtypes in
  `DTYPES`; returns the file's sha256."""
  dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
  try:
    content = save_safetensors(dense, metadata)
  except safetensors.SafetensorError as error:  # an older library knows fewer dtypes
    raise InputError(f"cannot write {path} ({error}): cast to float32") from None
  write_bytes(path, content)
  return hashlib.sha256(content).hexdigest()


def read_arrays(path: Path, digest: str | None = None) -> dict[str, Any]:
  """Reads what `write_arrays` wrote; safetensors itself does not notice a flipped bit.

  Raises:
    MissingError: no such file.
    DamagedError: the content does not have the given sha256, or is no safetensors.
  """
  return read_arrays_and_metadata(path, digest)[0]


def read_arrays_and_metadata(
  path: Path, digest: str | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
  content = read_bytes(path)
  if digest is not None and hashlib.sha256(content).hexdigest() != digest:
    raise DamagedError(f"{path} is damaged (checksum): {_AGAIN}")
  try:
    found = safetensors.deserialize(content)
  except safetensors.SafetensorError:
    raise DamagedError(f"{path} is damaged: {_AGAIN}") from None
  arrays = {}
  for name, array in found:
    if array["dtype"] not in _DTYPES:
      raise InputError(
        f"{path} holds {name} in {array['dtype']}: cast it to one of {list(DTYPES)}"
      )
    values = np.frombuffer(array["data"], _DTYPES[array["dtype"]])
    arrays[name] = values.reshape(array["shape"])
  header = 8 + int.from_bytes(content[:8], "little")
  return arrays, json.loads(content[8:header]).get("__metadata__") or {}


def write_checked_arrays(path: Path, arrays: Mapping[str, Any], **about: Any) -> None:
  """Arrays with a JSON file of the same name beside them that holds their checksum and
  `about`. It is written last and removed first: arrays without it are unfinished."""
  remove(path.with_suffix(".json"))
  digest = write_arrays(path, arrays)
  write_json(path.with_suffix(".json"), {"sha256": digest, **about})


def is_finished(path: Path) -> bool:
  """Whether `write_checked_arrays` got to its end; otherwise they are to be made again."""
  return path.exists() and path.with_suffix(".json").exists()


def read_checked_arrays(path: Path) -> dict[str, Any]:
  """Reads what `write_checked_arrays` wrote.

  Raises:
    MissingError: nothing there, or unfinished.
    DamagedError: the checksum differs.
  """
  return read_arrays(path, read_json(path.with_suffix(".json"), "sha256")["sha256"])


@contextlib.contextmanager
def exclusive(directory: Path, *, wait: bool = False) -> Iterator[None]:
  """Holds `directory` for this process, as `lock` does.

  Raises:
    InputError: another process holds it, unless `wait`; or it cannot be written to.
  """
  with disk.lock(directory / ".lock", wait=wait) as held:
    if not held:
      raise InputError(
        f"workdir {directory} is in use by another process: wait for it or name another"
      )
    yield
