"""Orbax checkpoints with checksums of their own.

Orbax restores flipped bits silently and reports a damaged step as the latest one, so each
step has a list of the sha256 of its files, and the newest *intact* step is restored.
"""

import logging
from typing import Any

import jax
import orbax.checkpoint as ocp

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, MissingError
from mcdi_jax.lib.files import Path

_CHECKSUMS = "sha256.json"
_COMMITTED = "commit_success.txt"


def _checksums(directory: Path, prefix: str = "") -> dict[str, str]:
  found = {}
  for f in sorted(directory.iterdir()):
    if f.is_dir():
      found |= _checksums(f, f"{prefix}{f.name}/")
    elif f.name != _CHECKSUMS:
      found[prefix + f.name] = files.sha256(f)
  return found


def _intact(directory: Path) -> bool:
  try:
    return files.read_json(directory / _CHECKSUMS) == _checksums(directory)
  except (MissingError, DamagedError):
    return False


def save_tree(directory: Path, tree: Any) -> None:
  """Writes a pytree of arrays as one Orbax checkpoint, replacing what was there."""
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(directory, tree, force=True)
  if "://" not in str(directory):
    # It holds nothing but the place where it was written; only a bucket is read by it.
    (directory / _COMMITTED).unlink(missing_ok=True)
  files.write_json(directory / _CHECKSUMS, _checksums(directory))


def load_tree(directory: Path, template: Any) -> Any:
  """Reads what `save_tree` wrote, with the structure, shapes and dtypes of `template`.

  Raises:
    MissingError: nothing there.
    DamagedError: a checksum, or the structure, differs.
  """
  if not directory.exists():
    raise MissingError(f"there is no checkpoint {directory}")
  if not _intact(directory):
    raise DamagedError(f"checkpoint {directory} is damaged (checksum)")
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
  with ocp.StandardCheckpointer() as checkpointer:
    try:
      return checkpointer.restore(directory, abstract)
    except (ValueError, KeyError):
      raise DamagedError(
        f"checkpoint {directory} does not hold the structure that its specification says"
      ) from None


class Checkpoints:
  """The newest `keep` training states of one run, by step."""

  def __init__(self, directory: Path, keep: int = 2):
    self.directory = directory
    self.keep = keep

  def steps(self) -> list[int]:
    """Finished steps, oldest first."""
    if not self.directory.exists():
      return []
    return sorted(int(d.name) for d in self.directory.iterdir() if d.name.isdigit())

  def save(self, step: int, state: Any) -> None:
    save_tree(self.directory / str(step), state)
    for old in self.steps()[: -self.keep]:
      (self.directory / str(old)).rmtree()

  def restore(self, template: Any) -> tuple[int, Any] | None:
    """The newest intact step and its state; None where there is none."""
    for step in reversed(self.steps()):
      try:
        return step, load_tree(self.directory / str(step), template)
      except DamagedError as error:
        logging.warning("%s: going back to the step before", error)
    return None
