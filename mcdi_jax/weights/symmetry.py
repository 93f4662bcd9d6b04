"""Permutation symmetry: of all networks that are one function, the one nearest to a
reference (Ainsworth et al. 2023, weight matching)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.weights.leaves import leaves_by_path, merged, nested

Hidden = Mapping[str, int]  # path → axis: a layer's units, wherever they are counted


def aligned(
  params: Params, reference: Params, layers: Sequence[Hidden], *, rounds: int = 20
) -> Params:
  """The params with each layer's units in the order that is nearest to the reference in
  squared distance. The function that they are does not change.

  One layer after the other is put in its best order, by an assignment, until none moves
  any more: the best of all orders for one layer, as good as any single change for several.

  Args:
    layers: for each hidden layer, the leaves and axes that run over its units, such as
      `{"dense_0/kernel": 1, "dense_0/bias": 0, "dense_1/kernel": 0}`.
    rounds: over the layers, at most.

  Raises:
    InputError: a leaf that is not there, or axes of different sizes in one layer.
  """
  given, target = _on_host(params), _on_host(reference)
  for hidden in layers:
    check_hidden(hidden, given)
  orders = _best_orders(given, target, layers, rounds)
  chosen = {path: given[path] for hidden in layers for path in hidden}
  found = _in_order(chosen, layers, orders)
  return merged(params, nested(jax.tree.map(jax.numpy.asarray, found)))


def aligned_trajectories(
  weights: Params, reference: Params, layers: Sequence[Hidden], *, rounds: int = 20
) -> Params:
  """The targets of many trajectories, numpy leaves [n, k, ...]: each trajectory in the
  order that `aligned` finds for its last target, so that it stays one."""
  given, target = _on_host(weights), _on_host(reference)
  for hidden in layers:
    check_hidden(hidden, {path: leaf[0, 0] for path, leaf in given.items()})
  found = {path: np.array(leaf) for path, leaf in given.items()}
  behind = [{path: axis + 1 for path, axis in hidden.items()} for hidden in layers]
  for n in range(len(next(iter(given.values())))):
    last = {path: leaf[n, -1] for path, leaf in given.items()}
    orders = _best_orders(last, target, layers, rounds)
    own = {path: leaf[n] for path, leaf in given.items()}
    for path, leaf in _in_order(own, behind, orders).items():
      found[path][n] = leaf
  return merged(weights, nested(found))


def _on_host(params: Params) -> dict[str, np.ndarray]:
  return {path: np.asarray(leaf) for path, leaf in leaves_by_path(params).items()}


def _best_orders(
  given: dict[str, Any], target: dict[str, Any], layers: Sequence[Hidden], rounds: int
) -> list[np.ndarray]:
  """Of each layer's units, what takes each place."""
  given, orders = dict(given), [np.arange(_units(hidden, given)) for hidden in layers]
  for _ in range(rounds):
    moved = False
    for n, hidden in enumerate(layers):
      order = _best_order(hidden, given, target)
      moved |= bool((order != np.arange(len(order))).any())
      given |= _in_order({path: given[path] for path in hidden}, [hidden], [order])
      orders[n] = orders[n][order]
    if not moved:
      break
  return orders


def _units(hidden: Hidden, given: dict[str, Any]) -> int:
  path, axis = next(iter(hidden.items()))
  return given[path].shape[axis]


def _in_order(
  leaves: dict[str, Any], layers: Sequence[Hidden], orders: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
  found = dict(leaves)
  for hidden, order in zip(layers, orders, strict=True):
    for path, axis in hidden.items():
      found[path] = np.take(found[path], order, axis)
  return found


def _best_order(hidden: Hidden, given: dict[str, Any], target: dict[str, Any]) -> Any:
  """Unit `order[u]` of the params takes place u: the products of corresponding weights are
  as large as they can be together, so the squared distance is as small."""
  products = sum(
    _by_unit(target[path], axis) @ _by_unit(given[path], axis).T
    for path, axis in hidden.items()
  )
  return linear_sum_assignment(products, maximize=True)[1]


def _by_unit(leaf: np.ndarray, axis: int) -> np.ndarray:
  return np.moveaxis(np.float64(leaf), axis, 0).reshape(leaf.shape[axis], -1)


def check_hidden(hidden: Hidden, given: dict[str, Any]) -> None:
  """Raises `InputError` unless these are axes of one layer's units; leaves or shapes."""
  for path, axis in hidden.items():
    if path not in given:
      raise InputError(f"there is no leaf {path}: there are {sorted(given)}")
    if not 0 <= axis < given[path].ndim:
      raise InputError(f"leaf {path} has shape {given[path].shape}: no axis {axis}")
  sizes = {path: given[path].shape[axis] for path, axis in hidden.items()}
  if len(set(sizes.values())) != 1:
    raise InputError(f"the axes of one layer have different sizes: {sizes}")
