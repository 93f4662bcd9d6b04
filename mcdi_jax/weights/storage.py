"""Weights on disk: one set as safetensors, a distribution as an Orbax checkpoint."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import load_tree, save_tree
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike

Params = Any
_DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")


def save_weights(path: PathLike, params: Params) -> None:
  """Writes nested dicts of arrays as safetensors, all or nothing; a leaf's name is its
  path, such as `head/kernel`.

  Raises:
    InputError: a leaf that is no array, or of a dtype that safetensors has no name for.
  """
  leaves = traverse_util.flatten_dict(params, sep="/")
  for name, leaf in leaves.items():
    if str(getattr(leaf, "dtype", None)) not in _DTYPES:
      found = getattr(leaf, "dtype", type(leaf).__name__)
      raise InputError(f"leaf {name} is {found}: cast it to one of {list(_DTYPES)}")
  files.write_arrays(files.as_path(path), {n: np.asarray(x) for n, x in leaves.items()})


def load_weights(path: PathLike) -> Params:
  """Reads what `save_weights` wrote, exactly.

  Raises:
    MissingError: no such file.
    DamagedError: no safetensors, or cut short.
  """
  leaves = files.read_arrays(files.as_path(path))
  return traverse_util.unflatten_dict(jax.tree.map(jnp.asarray, leaves), sep="/")


def save_distribution(
  path: PathLike, samples: Params, manifest: Mapping[str, Any] | None = None
) -> None:
  """Writes samples of weights (nested dicts; every leaf has a leading axis of samples) to
  the directory `path`, replacing what was there.

  Args:
    manifest: JSON-able facts that are kept beside them: generator, task, temperature, …

  Raises:
    InputError: leaves that do not have the same number of samples.
  """
  numbers = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(samples)}
  if len(numbers) != 1 or None in numbers:
    raise InputError(
      f"the leaves have leading axes {sorted(map(str, numbers))}: give samples that are "
      "stacked, such as a vmap over keys returns"
    )
  leaves = traverse_util.flatten_dict(samples, sep="/")
  structure = {n: {"shape": x.shape, "dtype": str(x.dtype)} for n, x in leaves.items()}
  content = {"manifest": dict(manifest or {}), "leaves": structure}
  directory = files.as_path(path)
  save_tree(directory / "samples", samples)
  files.write_json(directory / "distribution.json", content)


def load_distribution(path: PathLike) -> tuple[Params, dict[str, Any]]:
  """Reads what `save_distribution` wrote: the samples, exactly, and the manifest.

  Raises:
    MissingError: nothing there.
    DamagedError: a checksum differs.
  """
  directory = files.as_path(path)
  content = files.read_json(directory / "distribution.json")
  leaves = {
    name: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"])
    for name, leaf in content["leaves"].items()
  }
  template = traverse_util.unflatten_dict(leaves, sep="/")
  return load_tree(directory / "samples", template), content["manifest"]
