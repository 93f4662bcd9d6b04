"""Checkpoints in folders of the Hugging Face layout: `config.json`, and tensors as
`model.safetensors` or as the shards that `model.safetensors.index.json` lists."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import psutil

from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike

_TENSORS, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Tensors:
  """The arrays of a checkpoint, each asked for by its name and with its shape, so that a
  file of another network is told by the first that does not fit."""

  def __init__(self, arrays: dict[str, np.ndarray], place: str):
    self.arrays, self.place = arrays, place

  def __contains__(self, name: str) -> bool:
    return name in self.arrays

  def take(self, name: str, *shape: int) -> np.ndarray:
    """In float32."""
    if name not in self.arrays:
      raise InputError(
        f"{self.place} has no tensor {name!r}: give the checkpoint of this network"
      )
    found = self.arrays[name]
    if found.shape != shape:
      raise InputError(
        f"{name} in {self.place} has shape {found.shape}, this network needs {shape}: give "
        "the checkpoint of this network"
      )
    return np.asarray(found, np.float32)


def read_config(folder: PathLike, *, setting: str) -> dict[str, Any]:
  """Raises `InputError`, `MissingError` or `DamagedError` where there is none.

  Args:
    setting: where the folder was given.
  """
  if not str(folder):
    raise InputError(f"{setting} is empty: name the folder of a checkpoint")
  place = files.as_path(folder) / "config.json"
  try:
    return files.read_json(place)
  except MissingError:
    raise MissingError(
      f"there is no {place}: name the folder of a checkpoint with {setting}"
    ) from None
  except DamagedError:
    raise DamagedError(f"{place} is no JSON: bring the checkpoint's own") from None


def check_numbers(config: dict[str, Any], names: Iterable[str]) -> None:
  """Raises `InputError` for one that is no positive whole number."""
  for name in names:
    value = config.get(name)
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    check(whole, f"{name} of config.json", value, "a positive whole number is needed")


def number_of(config: dict[str, Any], name: str, default: float | None = None) -> float:
  """Raises `InputError` where it is no positive number, or not there without a default."""
  value = config.get(name, default)
  sound = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
  check(sound, f"{name} of config.json", value, "a positive number is needed")
  return float(value)


def read_tensors(folder: PathLike, prefix: str = "") -> Tensors:
  """All of them, without a prefix that only some files have.

  Raises:
    MissingError: no tensors, or a shard that the index lists is not there.
    InputError: the memory that is free cannot hold them.
  """
  folder = files.as_path(folder)
  index = folder / _INDEX
  names = [_TENSORS]
  if not (folder / _TENSORS).exists() and index.exists():
    told = files.from_json(files.read_bytes(index))
    told = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not all(isinstance(n, str) for n in told.values()):
      raise DamagedError(f"{index} lists no shards: bring the checkpoint's own")
    names = sorted(set(told.values()))
  for name in names:
    if not (folder / name).exists():
      raise MissingError(f"there is no {folder / name}: bring the whole checkpoint")
  _check_memory(folder, sum((folder / name).stat().length for name in names))
  arrays: dict[str, np.ndarray] = {}
  for name in names:
    try:
      arrays |= files.read_arrays(folder / name)
    except DamagedError:
      raise DamagedError(
        f"{folder / name} is damaged: bring the checkpoint's own, whole"
      ) from None
  whole = {name.removeprefix(prefix): array for name, array in arrays.items()}
  return Tensors(whole, f"{folder.name}/{names[0] if len(names) == 1 else _INDEX}")


def _check_memory(folder: files.Path, size: int) -> None:
  """Of files of so many bytes. Twice that is the least, for what is read and for arrays in
  float32; half precision takes more."""
  free = psutil.virtual_memory().available
  if 2 * size > free:
    raise InputError(
      f"the tensors in {folder} are {size / 2**30:.1f} GiB, which takes at least twice as "
      f"much memory to read, and {free / 2**30:.1f} GiB are free: stop other programs, or "
      "take a smaller checkpoint"
    )
