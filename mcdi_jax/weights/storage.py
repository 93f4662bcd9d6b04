"""Weights on disk: one set as safetensors, a distribution as an Orbax checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import load_described, save_described
from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.networks import Params

_STRUCTURE = "mcdi_jax.structure"


def save_weights(path: PathLike, params: Params) -> None:
  """Writes nested dicts, lists and tuples of arrays as safetensors, all or nothing. A
  leaf's name is its path, such as `head/kernel` or `blocks/0/kernel`; the nesting itself
  is kept in the file's metadata.

  Raises:
    InputError: before anything is written: what would not come back as it is, by name.
  """
  leaves, structure = _flatten(params)
  if "__metadata__" in leaves:
    raise InputError("a leaf is called __metadata__, as safetensors calls its own: rename")
  metadata = {_STRUCTURE: json.dumps(structure)}
  files.write_arrays(files.as_path(path), leaves, metadata)


def load_weights(path: PathLike) -> Params:
  """Reads what `save_weights` wrote, exactly, or a safetensors file of another tool,
  whose names are split at "/" into nested dicts.

  Leaves are jax arrays; those that jax would narrow (64 bits, unless `jax_enable_x64`)
  are numpy arrays.

  Raises:
    MissingError: no such file.
    DamagedError: no safetensors, or cut short.
    InputError: names of which one is the group of another, or a dtype without a name.
  """
  path = files.as_path(path)
  arrays, metadata = files.read_arrays_and_metadata(path)
  leaves = {name: _exact(array) for name, array in arrays.items()}
  if _STRUCTURE not in metadata:
    return _split_names(leaves, path)
  try:
    structure = json.loads(metadata[_STRUCTURE])
  except ValueError:
    structure = None
  return _build(structure, leaves, path)


def save_distribution(
  path: PathLike, samples: Params, manifest: Mapping[str, Any] | None = None
) -> None:
  """Writes samples of weights (nested dicts, lists and tuples; every leaf has a leading
  axis of samples) to the directory `path`, replacing what was there: a reader finds the
  one or the other, whenever this is interrupted.

  Args:
    manifest: JSON-able facts that are kept beside them: generator, task, temperature, …
      Tuples become lists, numbers and arrays of numpy or jax plain ones.

  Raises:
    InputError: before anything is written: leaves that do not have the same number of
      samples, or what would not come back as it is, by name.
  """
  leaves, structure = _flatten(samples)
  numbers = {leaf.shape[0] if leaf.ndim else None for leaf in leaves.values()}
  if len(numbers) != 1 or not all(numbers):
    raise InputError(
      f"the leaves have leading axes {sorted(map(str, numbers))}: give samples that are "
      "stacked, such as a vmap over keys returns"
    )
  if not any(leaf.size for leaf in leaves.values()):
    raise InputError("the samples have no elements: give weights that are not empty")
  content = {
    "manifest": files.plain(manifest or {}, "manifest"),
    "structure": structure,
    "leaves": {n: {"shape": x.shape, "dtype": str(x.dtype)} for n, x in leaves.items()},
  }
  path = files.as_path(path) / "distribution.json"
  # By number: Orbax would mix up names such as a/b and a.b.
  tree = {str(n): leaves[name] for n, name in enumerate(sorted(leaves))}
  save_described(path, content, "samples", {n: x for n, x in tree.items() if x.size})


def load_distribution(path: PathLike) -> tuple[Params, dict[str, Any]]:
  """Reads what `save_distribution` wrote: the samples, exactly, and the manifest. Leaves
  are jax arrays; those that jax would narrow (64 bits, unless `jax_enable_x64`) are numpy
  arrays.

  Raises:
    MissingError: nothing there.
    DamagedError: a checksum differs, or distribution.json was changed.
  """
  path = files.as_path(path) / "distribution.json"
  content, tree = load_described(path, ("manifest", "leaves"), "samples", _template)
  if "structure" not in content:  # as written by earlier versions
    return tree, content["manifest"]
  declared = _declared(content)
  leaves = {
    name: tree.get(str(n), _exact(np.zeros(declared[name].shape, declared[name].dtype)))
    for n, name in enumerate(sorted(declared))
  }
  return _build(content["structure"], leaves, path), content["manifest"]


def _declared(content: dict[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
  return {
    name: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"])
    for name, leaf in content["leaves"].items()
  }


def _template(content: dict[str, Any]) -> Any:
  """Of the checkpoint: leaves without elements are not in it."""
  try:
    declared = _declared(content)
  except (AttributeError, KeyError, TypeError):
    raise DamagedError(
      "distribution.json was changed: generate the samples anew, or bring another copy"
    ) from None
  if "structure" not in content:
    return traverse_util.unflatten_dict(declared, sep="/")
  numbered = {str(n): declared[name] for n, name in enumerate(sorted(declared))}
  return {n: leaf for n, leaf in numbered.items() if leaf.size}


def _exact(array: np.ndarray) -> Any:
  """As a jax array, unless jax would narrow it."""
  made = jnp.asarray(array)
  return made if made.dtype == array.dtype else array


def _flatten(params: Params) -> tuple[dict[str, np.ndarray], Any]:
  """The leaves by name, and the nesting with names for leaves: what `_build` takes."""
  if type(params) not in (dict, list, tuple):
    kind = type(params).__name__
    raise InputError(f"the weights are of type {kind}: give nested dicts, lists and tuples")
  leaves: dict[str, np.ndarray] = {}

  def walk(node: Any, path: tuple[str, ...]) -> Any:
    if type(node) is dict:
      for name in node:
        _check_name(name, path)
      return {name: walk(inside, (*path, name)) for name, inside in node.items()}
    if type(node) in (list, tuple):
      inside = [walk(x, (*path, str(n))) for n, x in enumerate(node)]
      return [type(node).__name__, *inside]
    name = "/".join(path)
    if name in leaves:
      raise InputError(f"two leaves are called {name}: name them without /")
    leaves[name] = _host(name, node)
    return name

  return leaves, walk(params, ())


def _check_name(name: Any, path: tuple[str, ...]) -> None:
  where = "/".join(path) or "the top"
  if not isinstance(name, str):
    raise InputError(f"{name!r} in {where} is no text: name groups and leaves by texts")
  try:
    name.encode()
  except UnicodeEncodeError:
    raise InputError(f"{name!r} in {where} has no UTF-8: rename it") from None


def _host(name: str, leaf: Any) -> np.ndarray:
  array = isinstance(leaf, (jax.Array, np.ndarray, np.generic))
  if not array or isinstance(leaf, np.ma.MaskedArray):
    kind = type(leaf).__name__
    raise InputError(
      f"leaf {name} is of type {kind}: give nested dicts, lists and tuples of arrays"
    )
  if str(leaf.dtype) not in files.DTYPES:
    raise InputError(f"leaf {name} is {leaf.dtype}: cast it to one of {list(files.DTYPES)}")
  return np.asarray(leaf)


def _build(structure: Any, leaves: Mapping[str, Any], path: files.Path) -> Params:
  def walk(node: Any) -> Any:
    if isinstance(node, dict):
      return {name: walk(inside) for name, inside in node.items()}
    if isinstance(node, list):
      return {"list": list, "tuple": tuple}[node[0]](walk(x) for x in node[1:])
    return leaves[node]

  try:
    return walk(structure)
  except (LookupError, TypeError):
    raise DamagedError(
      f"{path} is damaged (its structure): generate the samples anew, or bring another copy"
    ) from None


def _split_names(leaves: dict[str, Any], path: files.Path) -> Params:
  groups = {name[:n] for name in leaves for n, c in enumerate(name) if c == "/"}
  if both := sorted(groups & leaves.keys()):
    raise InputError(
      f"{path} has a leaf {both[0]} and others below that name: read it with "
      "safetensors.numpy"
    )
  return traverse_util.unflatten_dict(leaves, sep="/")
