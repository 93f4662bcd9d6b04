"""Alignment by permutation: the same function, and the nearest order of its units."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib.errors import InputError
from mcdi_jax.weights.symmetry import aligned, aligned_trajectories

ONE = [{"a/w": 1, "a/b": 0, "b/w": 0}]
TWO = [{"a/w": 1, "a/b": 0, "b/w": 0}, {"b/w": 1, "b/b": 0, "c/w": 0}]


def _mlp(seed: int, *widths: int) -> Any:
  rng = np.random.default_rng(seed)
  return {
    name: {"w": jnp.float32(rng.normal(size=(i, o))), "b": jnp.float32(rng.normal(size=o))}
    for name, i, o in zip("abc", widths[:-1], widths[1:], strict=False)
  }


def _apply(params: Any, x: Any) -> Any:
  for n, layer in enumerate(params.values()):
    x = x @ layer["w"] + layer["b"]
    x = jnp.tanh(x) if n + 1 < len(params) else x
  return x


def _permuted(params: Any, layers: Any, seed: int) -> Any:
  rng, found = np.random.default_rng(seed), {k: dict(v) for k, v in params.items()}
  for hidden in layers:
    order = None
    for path, axis in hidden.items():
      name, leaf = path.split("/")
      order = rng.permutation(found[name][leaf].shape[axis]) if order is None else order
      found[name][leaf] = jnp.take(found[name][leaf], order, axis)
  return found


def _distance(a: Any, b: Any) -> float:
  leaves = [(a[n][k], b[n][k]) for n in a for k in a[n]]
  return float(sum(jnp.sum((x - y) ** 2) for x, y in leaves))


@pytest.mark.parametrize(("layers", "widths"), [(ONE, (3, 8, 2)), (TWO, (3, 8, 6, 2))])
def test_a_permuted_network_is_found_again(layers: Any, widths: Any):
  params = _mlp(0, *widths)
  found = aligned(_permuted(params, layers, 1), params, layers)
  assert _distance(found, params) == 0


@pytest.mark.parametrize(("layers", "widths"), [(ONE, (3, 8, 2)), (TWO, (3, 8, 6, 2))])
def test_alignment_changes_no_output_and_comes_no_further_away(layers: Any, widths: Any):
  params, reference = _mlp(0, *widths), _mlp(1, *widths)
  x = jnp.float32(np.random.default_rng(2).normal(size=(5, 3)))
  found = aligned(params, reference, layers)
  np.testing.assert_allclose(_apply(found, x), _apply(params, x), rtol=1e-5, atol=1e-5)
  assert _distance(found, reference) < _distance(params, reference)
  again = aligned(found, reference, layers)
  assert _distance(again, found) == 0


def test_it_is_the_best_of_all_orders_for_one_hidden_layer():
  """All 120 tried."""
  params, reference = _mlp(0, 3, 5, 2), _mlp(1, 3, 5, 2)
  found = _distance(aligned(params, reference, ONE), reference)
  distances = []
  for order in itertools.permutations(range(5)):
    order = jnp.array(order)
    other = {
      "a": {"w": params["a"]["w"][:, order], "b": params["a"]["b"][order]},
      "b": {"w": params["b"]["w"][order], "b": params["b"]["b"]},
    }
    distances.append(_distance(other, reference))
  assert found == pytest.approx(min(distances), rel=1e-6)


@pytest.mark.parametrize(("layers", "widths"), [(ONE, (3, 8, 2)), (TWO, (3, 8, 6, 2))])
def test_a_trajectory_moves_as_its_last_target_does(layers: Any, widths: Any):
  """Each of three, from a start of its own: the last target as if alone, and every target
  the same function as before."""
  reference = _mlp(9, *widths)
  targets = [[_mlp(10 * n + i, *widths) for i in range(2)] for n in range(3)]
  stack = lambda *leaves: np.stack(leaves)  # noqa: E731
  weights = jax.tree.map(stack, *(jax.tree.map(stack, *own) for own in targets))
  found = aligned_trajectories(weights, reference, layers)
  x = jnp.float32(np.random.default_rng(2).normal(size=(5, 3)))
  for n in range(3):
    own = jax.tree.map(lambda leaf, n=n: leaf[n], found)
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], own) for i in range(2))
    alone = aligned(targets[n][1], reference, layers)
    assert _distance(last, alone) == 0 < _distance(alone, targets[n][1])
    expected = _apply(targets[n][0], x)
    np.testing.assert_allclose(_apply(first, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("layer", "said"),
  [
    ({"d/w": 0}, "there is no leaf d/w: there are"),
    ({"a/b": 1}, r"leaf a/b has shape \(8,\): no axis 1"),
    ({"a/w": 0, "a/b": 0}, "different sizes: {'a/w': 3, 'a/b': 8}"),
  ],
)
def test_layers_that_are_none_are_refused(layer: Any, said: str):
  params = _mlp(0, 3, 8, 2)
  with pytest.raises(InputError, match=said):
    aligned(params, params, [layer])
