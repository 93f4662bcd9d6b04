"""What a disk may refuse or interrupt: one sentence for it, a place to stop, locks."""

import contextlib
import errno
import itertools
import os
import signal
from collections.abc import Iterator

from etils.epath import Path

from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE

_ROOM = "free some space, and the same command goes on from what is there"
_PERMISSION = "name a place that you may write to"
_IN_THE_WAY = "something of that name is in the way, so name another place"
_REMEDIES = {
  errno.ENOSPC: _ROOM,
  errno.EDQUOT: _ROOM,
  errno.EFBIG: _ROOM,
  errno.EROFS: _PERMISSION,
  errno.EACCES: _PERMISSION,
  errno.EPERM: _PERMISSION,
  errno.ENOTDIR: _IN_THE_WAY,
  errno.EISDIR: _IN_THE_WAY,
  errno.EEXIST: _IN_THE_WAY,
  errno.ENOTEMPTY: _IN_THE_WAY,
}
_CODES = {  # of errors that a library raised without one
  PermissionError: errno.EACCES,
  FileExistsError: errno.EEXIST,
  IsADirectoryError: errno.EISDIR,
  NotADirectoryError: errno.ENOTDIR,
}


_points = itertools.count(1)


def write_point(path: Path) -> None:
  """Called before and after every change on disk that a reader can see: whatever a kill
  leaves behind is what lies there at one of these points.

  Tests put a function of their own in its place. With MCDI_STOP_AT_WRITE=n in the
  environment the process kills itself (SIGKILL) at its n-th point.
  """
  stop = os.environ.get("MCDI_STOP_AT_WRITE")
  if stop and next(_points) == int(stop):
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
  """Turns what the system refuses into one sentence (InputError): the path, the reason,
  the remedy."""
  try:
    yield
  except OSError as error:
    if isinstance(error, InputError):
      raise
    code = error.errno or _CODES.get(type(error))
    reason = os.strerror(code) if code else str(error)
    remedy = _REMEDIES.get(code, "name another place")
    raise InputError(f"cannot write {path} ({reason}): {remedy}") from error


def mkdir(path: Path) -> None:
  """Makes the folder and those above it, where they are not there."""
  with writing(path):
    path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
  """Holds the file `path` for this process; yields whether it does. The lock goes with
  the process, even if killed, and the file with the lock. A bucket has no locks: there it
  is always held.

  Args:
    wait: until another process lets it go; says so once.
  """
  if "://" in str(path):
    yield True
    return
  import fcntl

  mkdir(path.parent)
  told = False
  while True:
    with writing(path):
      f = open(path, "a")  # noqa: SIM115 (entered below)
    with f:
      try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        if not wait:
          yield False
          return
        if not told:
          CONSOLE.print(f"waiting for the process that works in {path.parent}")
        told = True
        fcntl.flock(f, fcntl.LOCK_EX)
      if not _is_open_file(path, f.fileno()):
        continue  # whoever held it has removed it: this is no lock any more
      try:
        yield True
      finally:
        with contextlib.suppress(OSError):
          os.unlink(path)
      return


def _is_open_file(path: Path, descriptor: int) -> bool:
  try:
    return os.path.samestat(os.stat(path), os.fstat(descriptor))
  except FileNotFoundError:
    return False
