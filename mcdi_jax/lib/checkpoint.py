"""Orbax checkpoints with checksums of their own, that load on any device.

Orbax restores flipped bits silently and reports a damaged step as the latest one, so each
checkpoint has a list of the sha256 of its files. The list is written last: a checkpoint
without it is unfinished, and is made again. Arrays go through the host both ways, so that
neither the kind nor the number of devices is part of what is saved.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mcdi_jax.lib import disk, files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
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


def _check_intact(directory: Path, remedy: str) -> None:
  """Files that are not in the list, such as a file browser's, count for nothing."""
  found = _checksums(directory)
  for name, digest in files.read_json(directory / _CHECKSUMS).items():
    if found.get(name) != digest:
      raise DamagedError(
        f"checkpoint {directory} is damaged (checksum of {name}): {remedy}"
      )


def is_finished(directory: Path) -> bool:
  """Whether `save_tree` got to its end there; otherwise it is to be made again."""
  return (directory / _CHECKSUMS).exists()


def save_tree(directory: Path, tree: Any) -> str:
  """Writes a pytree of arrays as one Orbax checkpoint, replacing what was there; returns
  a sha256 of it all. In between there is neither: see `save_described`.

  Raises:
    InputError: a leaf without elements, which Orbax cannot hold; or what the disk or
      Orbax refuses.
  """
  host = jax.device_get(jax.tree.map(_key_data, tree))
  for path, leaf in jax.tree_util.tree_leaves_with_path(host):
    if np.size(leaf) == 0:
      name = jax.tree_util.keystr(path)
      raise InputError(f"leaf {name} of {directory} has no elements: leave it out")
  disk.mkdir(directory.parent)
  _remove(directory)
  disk.write_point(directory)
  with disk.writing(directory):
    with _orbax_writing(directory), ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(directory, host)
    if "://" not in str(directory):
      # It holds nothing but the place where it was written; only a bucket is read by it.
      (directory / _COMMITTED).unlink(missing_ok=True)
  disk.write_point(directory)
  files.write_json(directory / _CHECKSUMS, _checksums(directory))
  return files.sha256(directory / _CHECKSUMS)


@contextlib.contextmanager
def _orbax_writing(directory: Path) -> Iterator[None]:
  """Orbax's failures as the system's, or in its own words; without what it logs of them
  in its threads, and without the half that it wrote."""
  logger = logging.getLogger("absl")
  before, logger.disabled = logger.disabled, True
  try:
    yield
  except (ValueError, RuntimeError, OSError) as error:
    half = directory.parent / f"{directory.name}.orbax-checkpoint-tmp"
    with contextlib.suppress(OSError):
      half.rmtree(missing_ok=True)
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
      raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
    if isinstance(error, OSError):
      raise
    raise InputError(
      f"cannot write checkpoint {directory} ({_line(error)}): save arrays of numbers"
    ) from error
  finally:
    logger.disabled = before


def load_tree(
  directory: Path, template: Any, digest: str | None = None, described: Path | None = None
) -> Any:
  """Reads what `save_tree` wrote, with the structure, shapes and dtypes of `template`
  (arrays or `ShapeDtypeStruct`s).

  Leaves come as jax arrays where the template's lie if those are bound to devices, and
  on the default device otherwise; as numpy where jax would narrow them (64 bits).

  Args:
    digest: what `save_tree` returned, where the very same tree is wanted.
    described: the file that describes the tree, if any: without it both are made again.

  Raises:
    MissingError: nothing there, or unfinished.
    DamagedError: a checksum differs.
    InputError: it holds another structure, or Orbax cannot read it.
  """
  remedy = f"delete {described or directory} to have it made again"
  if not directory.exists():
    beside = f", of which {described} speaks: {remedy}" if described else ""
    raise MissingError(f"there is no checkpoint {directory}{beside}")
  if not is_finished(directory):
    raise MissingError(
      f"checkpoint {directory} is unfinished (it has no {_CHECKSUMS}): {remedy}"
    )
  _check_intact(directory, remedy)
  if digest and files.sha256(directory / _CHECKSUMS) != digest:
    raise DamagedError(
      f"checkpoint {directory} is not the one that was saved with {described}: {remedy}"
    )
  numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), template)
  with ocp.PyTreeCheckpointer() as checkpointer:
    try:
      found = checkpointer.restore(directory, item=template, restore_args=numpy)
    except (ValueError, KeyError, TypeError) as error:
      raise InputError(
        f"checkpoint {directory} does not hold the structure that its specification says "
        f"({_line(error)}): {remedy}"
      ) from error
  leaves = jax.tree_util.tree_leaves_with_path(template)
  for (path, like), leaf in zip(leaves, jax.tree.leaves(found), strict=True):
    expected = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    if (expected.shape, expected.dtype) != (leaf.shape, leaf.dtype):
      raise InputError(
        f"checkpoint {directory} does not hold the structure that its specification says "
        f"({jax.tree_util.keystr(path)} is {leaf.dtype}{list(leaf.shape)}, not "
        f"{expected.dtype}{list(expected.shape)}): {remedy}"
      )
  return jax.tree.map(_place, template, found)


def load_foreign_tree(directory: Path) -> Any:
  """Reads an Orbax checkpoint that another program wrote, all leaves as numpy.

  Raises:
    DamagedError: Orbax cannot read it.
  """
  with ocp.PyTreeCheckpointer() as checkpointer:
    try:
      metadata = checkpointer.metadata(directory)
      tree = getattr(metadata, "item_metadata", metadata)
      tree = getattr(tree, "tree", tree)
      numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
      return checkpointer.restore(directory, restore_args=numpy)
    except (ValueError, KeyError, TypeError, OSError) as error:
      raise DamagedError(f"Orbax cannot read {directory} ({_line(error)})") from error


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _place(like: Any, leaf: np.ndarray) -> Any:
  sharding = like.sharding if getattr(like, "committed", False) else None
  if _is_key(like):
    kinds = []  # of a template that may be no array: asked while tracing
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), like)
    return jax.device_put(jax.random.wrap_key_data(leaf, impl=kinds[0]), sharding)
  if jnp.asarray(leaf).dtype != leaf.dtype:
    return leaf
  return jax.device_put(leaf, sharding)


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:300]


def save_described(path: Path, content: dict[str, Any], name: str, tree: Any) -> None:
  """Writes a tree and the JSON file that says what it is, both or neither.

  The tree is written into a folder that the present file does not name (`name` or
  `name`-2, beside it); then the file, which names it, replaces the present one in one
  step; then the old folder goes.
  """
  content = files.plain(content, path.name)
  old = _folder(files.read_json(path), name) if path.exists() else None
  new = name if old != name else f"{name}-2"
  digest = save_tree(path.parent / new, tree)
  files.write_json(path, {**content, "tree": {"folder": new, "sha256": digest}})
  if old:
    _remove(path.parent / old)


def _folder(content: dict[str, Any], name: str) -> str:
  return content.get("tree", {"folder": name})["folder"]


def load_described(
  path: Path, keys: tuple[str, ...], name: str, template: Callable[[dict[str, Any]], Any]
) -> tuple[dict[str, Any], Any]:
  """Reads what `save_described` wrote: the content and the tree, of one save, also while
  another process saves.

  Args:
    keys: those that the content must have.
    template: content → the template of `load_tree`.
  """
  content = files.read_json(path, *keys)
  while True:
    try:
      directory = path.parent / _folder(content, name)
      digest = content.get("tree", {}).get("sha256")
      return content, load_tree(directory, template(content), digest, path)
    except InputError:
      before, content = content, files.read_json(path, *keys)
      if content == before:
        raise


def _remove(directory: Path) -> None:
  """The checksums first: what is half removed is unfinished, not damaged."""
  files.remove(directory / _CHECKSUMS)
  if directory.exists():
    with disk.writing(directory):
      directory.rmtree()
    disk.write_point(directory)


class Checkpoints:
  """The newest `keep` training states of one run, by step."""

  def __init__(self, directory: Path, keep: int = 2):
    self.directory = directory
    self.keep = keep

  def steps(self) -> list[int]:
    """Finished steps, oldest first."""
    return [step for step in self._begun() if is_finished(self.directory / str(step))]

  def _begun(self) -> list[int]:
    if not self.directory.exists():
      return []
    return sorted(int(d.name) for d in self.directory.iterdir() if d.name.isdigit())

  def save(self, step: int, state: Any) -> None:
    save_tree(self.directory / str(step), state)
    kept = self.steps()[-self.keep :]
    for old in self._begun():
      if old not in kept:
        _remove(self.directory / str(old))

  def restore(self, template: Any) -> tuple[int, Any] | None:
    """The newest intact step and its state; None where there is none."""
    for step in reversed(self.steps()):
      try:
        return step, load_tree(self.directory / str(step), template)
      except DamagedError as error:
        logging.warning("%s: going back to the step before", error)
    return None
