"""Places that a command is told to write to, looked at before the work."""

import os
from collections.abc import Callable

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike


def checked(
  path: PathLike,
  setting: str,
  *,
  folder: bool = False,
  outside: PathLike | None = None,
  ours: Callable[[bytes], bool] | None = None,
) -> Path:
  """The path in full.

  Args:
    folder: whether a folder is to be written, or a file.
    outside: a folder of inputs, which is not to change.
    ours: whether the content of a file that is there is what the command writes: no other
      is replaced.

  Raises:
    InputError: no path, something of the other kind, no folder to write it in, or it lies
      in `outside`.
  """
  if not str(path).strip():
    raise InputError(f"{setting} is empty: name a {'folder' if folder else 'file'}")
  path = files.as_path(path)
  if path.exists() and path.is_dir() != folder:
    other, wanted = ("file", "folder") if folder else ("folder", "file")
    raise InputError(f"{setting} {path} is a {other}: name a new {wanted}")
  above = next((p for p in path.parents if p.exists()), path)
  if not above.is_dir() and above != path:
    raise InputError(f"{setting} {path} lies in {above}, which is a file: name another")
  if ours and path.exists() and not ours(files.read_bytes(path)):
    raise InputError(f"{setting} {path} is a file of another kind: name a new one")
  if outside is not None:
    real = [os.path.realpath(files.as_path(p)) for p in (path, outside)]
    if os.path.commonpath(real) == real[1]:
      raise InputError(
        f"{setting} {path} lies in {outside}, which would be read with it the next time: "
        "name a place outside"
      )
  return path
