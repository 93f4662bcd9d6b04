"""The bank: prepared tasks on disk, in shards that any number of processes may fill.

A shard is a function of (seed, shard number). Its file is locked while it is made, and
its checksum is written beside it when it is complete; the manifest, which says what the
bank was made from, comes first. What is there is not made again.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Int, Key

from mcdi_jax.lib import disk, files
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.over_tasks import over_tasks
from mcdi_jax.lib.progress import Bar
from mcdi_jax.preparation.trajectory import Trajectory

PrepareTask = Callable[[Key[Array, ""], Any], tuple[Any, Trajectory]]


class Bank(NamedTuple):
  """n prepared tasks of the same form.

  Attributes:
    tasks: which they are, as the family says: a pytree of integers, leading axis n.
    weights: params with leading axes [n, k].
  """

  tasks: Any
  weights: Any

  @property
  def size(self) -> int:
    return len(jax.tree.leaves(self.tasks)[0])


class Shards(NamedTuple):
  """A complete bank on disk, of which nothing is read yet.

  Attributes:
    directory: of it.
    sizes: tasks in each shard; the last may have fewer.
  """

  directory: Path
  sizes: tuple[int, ...]

  @property
  def bytes(self) -> int:
    """Of all files."""
    places = [_shard_path(self.directory, s) for s in range(len(self.sizes))]
    return sum(place.stat().length for place in places)

  def read(self, which: Sequence[int] | None = None) -> tuple[Bank, np.ndarray]:
    """Some shards, or all, and the number in the bank of each of their tasks.

    Raises:
      DamagedError: a shard is not what was written.
    """
    which = range(len(self.sizes)) if which is None else which
    parts = [_read_shard(self.directory, s) for s in which]
    starts = np.cumsum([0, *self.sizes])
    numbers = [np.arange(starts[s], starts[s + 1], dtype=np.int32) for s in which]
    bank = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return bank, np.concatenate(numbers)


def bank_key(seed: int) -> Key[Array, ""]:
  return key_for(seed, "bank")


def task_key(key: Key[Array, ""], number: Any) -> Key[Array, ""]:
  """Of the task with this number in the bank."""
  return jax.random.fold_in(key, number)


def open_bank(
  directory: Path,
  prepare: PrepareTask,
  items: Any,
  content: dict[str, Any],
  *,
  seed: int,
  tasks: int,
  shard_tasks: int,
  title: str = "bank",
) -> Shards:
  """The bank, when the shards that are missing are made.

  Args:
    prepare: `prepare(key, items) → (task, Trajectory)`; vmapped over a shard's tasks.
    content: all that determines the trajectories; hashed into the manifest.

  Raises:
    InputError: the directory holds a bank of other content.
  """
  _check_manifest(directory, content, tasks, shard_tasks)
  key = bank_key(seed)
  shard_fn = jax.jit(functools.partial(_prepare_shard, prepare, key))
  sizes = [min(shard_tasks, tasks - a) for a in range(0, tasks, shard_tasks)]
  missing = [s for s in range(len(sizes)) if not _complete(directory, s)]
  with Bar(title, len(sizes)) as bar:
    for wait in (False, True):  # what others are at is waited for at last
      for s in missing:
        with _held(directory, s, wait) as to_be_made:
          if to_be_made:
            numbers = np.arange(sizes[s]) + s * shard_tasks
            _write_shard(directory, s, shard_fn(numbers, items))
        bar.update(s + 1, f"shards of {shard_tasks} tasks")
  return Shards(directory, tuple(sizes))


def _prepare_shard(
  prepare: PrepareTask, key: Key[Array, ""], numbers: Int[Array, " n"], items: Any
) -> tuple[Any, Trajectory]:
  return over_tasks(lambda number: prepare(task_key(key, number), items), numbers)


def _check_manifest(
  directory: Path, content: dict[str, Any], tasks: int, shard_tasks: int
) -> None:
  digest = content_hash(content)
  counts = {"tasks": tasks, "shard_tasks": shard_tasks}
  manifest = {"hash": digest, "content": content, **counts}
  path = directory / "manifest.json"
  if not path.exists():
    files.write_json(path, manifest)
    return
  names = ("hash", "tasks", "shard_tasks")
  found = files.read_json(path, *names)
  for name in names:
    if found[name] != manifest[name]:
      raise InputError(
        f"bank {directory} was made with another {name} ({found[name]}, not "
        f"{manifest[name]}): delete it or name another config.bank_dir"
      )


def _shard_path(directory: Path, shard: int) -> Path:
  return directory / f"shard-{shard:05d}.safetensors"


def _complete(directory: Path, shard: int) -> bool:
  return files.is_finished(_shard_path(directory, shard))


@contextlib.contextmanager
def _held(directory: Path, shard: int, wait: bool) -> Iterator[bool]:
  """Locks the shard; yields whether this process is to make it."""
  if _complete(directory, shard):
    yield False
    return
  with disk.lock(directory / f"shard-{shard:05d}.lock", wait=wait) as held:
    yield held and not _complete(directory, shard)


def _write_shard(directory: Path, shard: int, made: tuple[Any, Trajectory]) -> None:
  task, path = jax.device_get(made)
  content = {"task": task, "weights": path.weights, "loss": path.losses}
  arrays = traverse_util.flatten_dict(content, sep="/")
  if not all(np.isfinite(a).all() for a in arrays.values()):
    raise InputError(
      f"shard {shard} of bank {directory} has weights that are not finite: lower "
      "config.preparation.rate and name another --workdir, as one belongs to one config"
    )
  number = len(next(iter(arrays.values())))
  files.write_checked_arrays(_shard_path(directory, shard), arrays, tasks=number)


def read_bank(directory: Path) -> tuple[Bank, np.ndarray | None]:
  """A bank that is complete; and the losses [n, k] at its targets, where they are known.

  Raises:
    MissingError: there is none, or shards are missing.
    DamagedError: a file is not what was written.
  """
  path = directory / "manifest.json"
  if not path.exists():
    raise MissingError(f"there is no bank in {directory}: it has no manifest.json")
  manifest = files.read_json(path, "tasks", "shard_tasks")
  number = -(-manifest["tasks"] // manifest["shard_tasks"])
  missing = [s for s in range(number) if not _complete(directory, s)]
  if missing:
    raise MissingError(
      f"bank {directory} lacks {len(missing)} of {number} shards: the run that makes it "
      "goes on with the same command"
    )
  shards = [files.read_checked_arrays(_shard_path(directory, s)) for s in range(number)]
  whole = {n: np.concatenate([shard[n] for shard in shards]) for n in shards[0]}
  return _as_bank(whole), whole.get("loss")


def write_bank(
  directory: Path, bank: Bank, content: dict[str, Any], loss: np.ndarray | None = None
) -> None:
  """A bank that was made elsewhere, as one shard."""
  counts = {"tasks": bank.size, "shard_tasks": bank.size}
  manifest = {"hash": content_hash(content), "content": content, **counts}
  arrays = {"task": bank.tasks, "weights": bank.weights}
  arrays = traverse_util.flatten_dict(arrays, sep="/")
  arrays |= {} if loss is None else {"loss": loss}
  files.write_json(directory / "manifest.json", manifest)
  files.write_checked_arrays(_shard_path(directory, 0), arrays, tasks=bank.size)


def _read_shard(directory: Path, shard: int) -> Bank:
  return _as_bank(files.read_checked_arrays(_shard_path(directory, shard)))


def _as_bank(arrays: dict[str, np.ndarray]) -> Bank:
  found = traverse_util.unflatten_dict(arrays, sep="/")
  return Bank(found["task"], found["weights"])
