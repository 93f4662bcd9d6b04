"""Leaves of any pytree by path: nested dicts and lists, Flax states, dataclasses."""

from typing import Any

import jax
from flax import traverse_util

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params


def leaves_by_path(tree: Any) -> dict[str, Any]:
  """Path, such as `head/kernel` or `blocks/0/weight`, → leaf.

  Raises:
    InputError: two leaves of one path, which names with "/" in them can make.
  """
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  found = {_path(steps): leaf for steps, leaf in paths}
  if len(found) != len(paths):
    raise InputError(
      'two leaves of the params have the same path, as names with "/" can make: rename them'
    )
  return found


def nested(leaves: dict[str, Any]) -> Params:
  """Leaves by path as nested dicts."""
  return traverse_util.unflatten_dict(leaves, sep="/")


def merged(tree: Any, params: Params) -> Any:
  """The tree with the leaves of `params` in their places, whatever it is made of.

  Args:
    params: nested dicts, as `nested` makes them.

  Raises:
    InputError: a leaf that the tree has no place for.
  """
  given = leaves_by_path(params)
  places, structure = jax.tree_util.tree_flatten_with_path(tree)
  found = [given.pop(_path(steps), leaf) for steps, leaf in places]
  if given:
    raise InputError(f"the network has no leaves {sorted(given)}")
  return structure.unflatten(found)


def part(tree: Any, whole: Any) -> Any:
  """The tree with the leaves that `whole` has at its paths."""
  given = leaves_by_path(whole)
  return jax.tree_util.tree_map_with_path(lambda steps, _: given[_path(steps)], tree)


def _path(steps: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(steps, simple=True, separator="/")
