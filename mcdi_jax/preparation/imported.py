"""A folder of checkpoints that exist already, as a bank: safetensors or Orbax, never a
pickle, which is a program that runs when it is read."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mcdi_jax.data.names import listed, natural_key, printable
from mcdi_jax.lib.checkpoint import load_foreign_tree
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.preparation.bank import Bank, write_bank
from mcdi_jax.weights import leaves_by_path, load_weights, nested

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")
_ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt")
_CONSTANT = 1e-12  # sd over tasks


class Checked(NamedTuple):
  """What the check-up found, of n checkpoints with k targets each.

  Attributes:
    names: of the tasks, in their order.
    left_out: leaves that are not of floats.
    constant: leaves that are the same in all checkpoints.
    duplicates: pairs of names whose last weights are the same.
  """

  names: list[str]
  targets: int
  left_out: list[str]
  constant: list[str]
  duplicates: list[tuple[str, str]]


def import_bank(source: Path, out: Path, tasks: Mapping[str, Any] | None = None) -> Checked:
  """Writes the bank.

  Args:
    source: with an entry for each task: a `.safetensors` file or an Orbax folder, its
      weights; or a folder of those, local targets in the order of their names.
    tasks: which task each is, by name: a pytree of integers as the family draws them.
      None: its number in the order of names.

  Raises:
    MissingError: no checkpoint there.
    InputError: a pickle; leaves or numbers of targets that are not the same in all; weights
      that are not finite; a task that is not told.
  """
  found = dict(_entries(source))
  if not found:
    raise MissingError(
      f"there is no checkpoint in {source}: give a folder of .safetensors or Orbax folders"
    )
  read = {name: [_read(place) for place in places] for name, places in found.items()}
  first = next(iter(read))
  paths = {p: x for p, x in read[first][0].items() if np.issubdtype(x.dtype, np.inexact)}
  for name, targets in read.items():
    _check(name, targets, first, read[first])
  weights = {
    path: np.stack([np.stack([t[path] for t in targets]) for targets in read.values()])
    for path in paths
  }
  names = list(read)
  bank = Bank(_tasks(names, tasks), nested(weights))
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(bank):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  write_bank(out, bank, {"imported": digest.hexdigest(), "names": names})
  return Checked(
    names,
    len(read[first]),
    sorted(set(read[first][0]) - set(paths)),
    [p for p, x in weights.items() if np.float64(x[:, -1]).std(0).max() < _CONSTANT],
    _duplicates({name: targets[-1] for name, targets in read.items()}),
  )


def _entries(source: Path) -> Iterator[tuple[str, list[Path]]]:
  if not source.is_dir():
    raise MissingError(f"{source} is no folder: give one of checkpoints")
  for place in sorted(source.iterdir(), key=lambda p: natural_key(p.name)):
    _refuse_pickle(place)
    if _is_checkpoint(place):
      yield place.name.removesuffix(".safetensors"), [place]
    elif place.is_dir():
      inside = sorted(place.iterdir(), key=lambda p: natural_key(p.name))
      for one in inside:
        _refuse_pickle(one)
      if targets := [one for one in inside if _is_checkpoint(one)]:
        yield place.name, targets


def _refuse_pickle(place: Path) -> None:
  if place.suffix.lower() in _PICKLES:
    raise InputError(
      f"{printable(str(place))} looks like a pickle, which runs as a program when it is "
      "read: save its weights as safetensors, and take it out of the folder"
    )


def _is_checkpoint(place: Path) -> bool:
  if place.is_dir():
    return any((place / name).exists() for name in _ORBAX)
  return place.suffix == ".safetensors"


def _read(place: Path) -> dict[str, np.ndarray]:
  tree = load_foreign_tree(place) if place.is_dir() else load_weights(place)
  return {path: np.asarray(leaf) for path, leaf in leaves_by_path(tree).items()}


def _check(
  name: str,
  targets: list[dict[str, np.ndarray]],
  first: str,
  expected: list[dict[str, np.ndarray]],
) -> None:
  if len(targets) != len(expected):
    raise InputError(
      f"{printable(name)} has {len(targets)} targets, {printable(first)} has "
      f"{len(expected)}: give all tasks as many"
    )
  shapes = {path: leaf.shape for path, leaf in expected[0].items()}
  for target in targets:
    own = {path: leaf.shape for path, leaf in target.items()}
    differing = sorted(p for p in shapes | own if shapes.get(p) != own.get(p))
    if differing:
      p = differing[0]
      raise InputError(
        f"leaf {p} of {printable(name)} has shape {own.get(p)}, of {printable(first)} "
        f"{shapes.get(p)}: a bank is of one network"
      )
    wild = [p for p, x in target.items() if not np.isfinite(np.float32(x)).all()]
    if wild:
      raise InputError(
        f"{printable(name)} has weights that are not finite in {listed(wild)}: take it out"
      )


def _tasks(names: list[str], tasks: Mapping[str, Any] | None) -> Any:
  if tasks is None:
    return np.arange(len(names), dtype=np.int32)
  missing = [name for name in names if name not in tasks]
  if missing:
    raise InputError(f"the tasks of {listed(missing)} are not told: name each checkpoint")
  try:
    as_arrays = [_array(jax.tree.map(np.int32, tasks[name])) for name in names]
    return jax.tree.map(lambda *parts: np.stack(parts), *as_arrays)
  except (ValueError, TypeError, OverflowError):
    raise InputError(
      "the tasks are not all integers in one form: give each checkpoint's as the family "
      "draws it"
    ) from None


def _array(task: Any) -> Any:
  """A list of integers is one leaf."""
  return np.int32(task) if isinstance(task, list) else task


def _duplicates(last: dict[str, dict[str, np.ndarray]]) -> list[tuple[str, str]]:
  seen: dict[str, str] = {}
  found = []
  for name, leaves in last.items():
    digest = hashlib.sha256()
    for leaf in leaves.values():
      digest.update(np.ascontiguousarray(leaf).tobytes())
    other = seen.setdefault(digest.hexdigest(), name)
    if other != name:
      found.append((other, name))
  return found
