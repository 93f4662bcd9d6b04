"""Weights of any network as tokens: what comes back, what is said, what is refused."""

import dataclasses
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mcdi_jax.lib.errors import InputError
from mcdi_jax.weights import Cut, leaves_by_path, merged, weight_space

ROWS, LAST, CHUNKS = Cut("rows"), Cut("rows", 1), Cut("chunks", size=5)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Module:
  """Params as a module's attributes, as equinox has them."""

  weight: Any
  inner: Any
  width: int = dataclasses.field(metadata={"static": True}, default=3)


class _Linen(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(2)(nn.relu(nn.Dense(4)(x)))


def _normal(*shape: int) -> Any:
  return jnp.float32(np.random.default_rng(sum(shape)).normal(size=shape))


def _nnx() -> Any:
  return nnx.state(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.Param)


TREES = {
  "a dict": ({"w": _normal(3, 4)}, {"w": ROWS}),
  "chunks of all": ({"w": _normal(3, 4), "b": _normal(7)}, {"*": CHUNKS}),
  "lists": ([[_normal(2, 3), _normal(3)], [_normal(3, 1)]], {"0/*": ROWS, "1/0": CHUNKS}),
  "Linen": (_Linen().init(jax.random.key(0), jnp.ones((1, 3))), {"*kernel": LAST}),
  "nnx": (_nnx(), {"*": CHUNKS}),
  "a foreign module": (
    _Module(_normal(3, 2), [_Module(_normal(4), None)]),
    {"weight": LAST, "inner/*": CHUNKS},
  ),
  "mixed dtypes": (
    {"a": _normal(3, 4).astype(jnp.bfloat16), "b": _normal(9), "n": jnp.arange(3)},
    {"a": ROWS, "b": CHUNKS},
  ),
  "classes beside others": (
    {"conv": _normal(3, 3, 2, 4), "head": {"kernel": _normal(6, 5), "bias": _normal(5)}},
    {"head/kernel": Cut("classes", 1), "head/bias": Cut("classes"), "conv": Cut("rows", 3)},
  ),
}


@pytest.mark.parametrize("name", TREES)
def test_decode_after_encode_is_the_identity(name: str):
  """To 1e-6 of each leaf's rms, each in its dtype; merged into the tree, it is the tree."""
  tree, cuts = TREES[name]
  space = weight_space(tree, cuts, gauge=False)
  scale = jnp.linspace(0.3, 3.0, len(space.leaves))
  space = dataclasses.replace(space, scale=scale)
  found = merged(tree, space.decode(space.encode(tree)))
  assert jax.tree.structure(found) == jax.tree.structure(tree)
  for before, after in zip(*map(jax.tree.leaves, (tree, found)), strict=True):
    assert after.dtype == before.dtype
    rms = float(jnp.sqrt(jnp.mean(jnp.square(before.astype(jnp.float32)))))
    np.testing.assert_allclose(after, before, atol=1e-6 * rms, rtol=0)


@pytest.mark.parametrize("name", TREES)
def test_float64_comes_back_to_rounding(name: str):
  tree, cuts = TREES[name]
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(np.float64(x)), tree)
    space = weight_space(wide, cuts, gauge=False)
    space = dataclasses.replace(space, scale=jnp.linspace(0.3, 3.0, len(space.leaves)))
    found = merged(wide, space.decode(space.encode(wide)))
    chex.assert_trees_all_close(found, wide, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TREES)
def test_mask_and_identity_say_what_each_place_is(name: str):
  """The places that count are as many as the weights, and the others are 0 in tokens and
  projected noise; no two tokens that are not of classes have one identity."""
  tree, cuts = TREES[name]
  space = weight_space(tree, cuts)
  ways = 5 if space.class_width else 0
  mask, identity = space.mask(ways), space.identity(ways)
  tokens = space.encode(tree)
  assert mask.shape == tokens.shape == (space.rows(ways), space.width)
  given = leaves_by_path(tree)
  assert space.weights(ways) == sum(given[leaf.path].size for leaf in space.leaves)
  noise = space.project(jnp.asarray(np.random.default_rng(0).normal(size=tokens.shape)))
  assert not tokens[~mask].any() and not noise[~mask].any()
  assert (np.asarray(noise)[mask] != 0).all()
  own = [tuple(row) for row in identity[ways:]]
  assert len(set(own)) == len(own) and not identity[:ways].any()
  leaves = {leaf for leaf, _ in own}
  assert leaves == set(range(1, 1 + len(leaves)))


def test_free_weights_are_the_rank_of_the_gauge():
  """Counted by the projection's own matrix."""
  tree, cuts = TREES["classes beside others"]
  for gauge in (True, False):
    space = weight_space(tree, cuts, gauge=gauge)
    shape = (space.rows(5), space.width)
    units = jnp.eye(shape[0] * shape[1]).reshape(-1, *shape)
    matrix = jax.vmap(space.project)(units).reshape(len(units), -1)
    assert np.linalg.matrix_rank(np.asarray(matrix)) == space.free_weights(5)


def test_absent_classes_leave_the_other_leaves_alone():
  tree, cuts = TREES["classes beside others"]
  space = weight_space(tree, cuts)
  present = jnp.array([True, True, False, True, False])
  whole, part = space.encode(tree), space.encode(tree, present=present)
  np.testing.assert_array_equal(whole[5:], part[5:])
  assert not part[jnp.array([2, 4])].any()
  np.testing.assert_allclose(part[:5].sum(0), 0, atol=1e-5)  # the mean of those present


def test_a_base_is_taken_off_and_added_again():
  tree, cuts = TREES["classes beside others"]
  base = jax.tree.map(lambda leaf: leaf + 1, tree)
  space = weight_space(tree, cuts, gauge=False)
  tokens = space.encode(tree, base)
  mask = space.mask(5)
  np.testing.assert_allclose(np.asarray(tokens)[mask], -1, rtol=1e-5)
  chex.assert_trees_all_close(space.decode(tokens, base), tree, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["chunks of all", "lists", "classes beside others"])
def test_rms_is_that_of_each_leaf(name: str):
  """Over several tasks; by hand, without the gauge."""
  tree, cuts = TREES[name]
  space = weight_space(tree, cuts, gauge=False)
  tokens = jnp.stack([space.encode(tree), 2 * space.encode(tree)])
  given = leaves_by_path(tree)
  for leaf, found in zip(space.leaves, space.leaf_rms(tokens), strict=True):
    expected = jnp.sqrt(2.5 * jnp.mean(given[leaf.path] ** 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_first_pattern_that_fits_counts():
  tree = {"a": _normal(4, 3), "b": _normal(4, 3)}
  space = weight_space(tree, {"b": CHUNKS, "*": ROWS})
  assert {leaf.path: leaf.cut for leaf in space.leaves} == {"a": ROWS, "b": CHUNKS}


def test_shapes_serve_as_well_as_arrays():
  tree, cuts = TREES["Linen"]
  shapes = jax.eval_shape(lambda: tree)
  assert weight_space(shapes, cuts).leaves == weight_space(tree, cuts).leaves


@pytest.mark.parametrize(
  ("cuts", "said"),
  [
    (
      {"heads/*": ROWS},
      r"pattern 'heads/\*' fits no leaf: there are \['a', 'b', 'n'\]",
    ),
    ({"n": ROWS}, "leaf n is int32: only leaves of floats"),
    ({"b": LAST}, r"leaf b has shape \(9,\): it has no axis 1"),
    ({"b": Cut("chunks")}, "chunks of leaf b have size 0: give at least 1"),
  ],
)
def test_what_cannot_be_cut_is_refused_in_one_sentence(cuts: Any, said: str):
  with pytest.raises(InputError, match=said):
    weight_space(TREES["mixed dtypes"][0], cuts)


def test_two_leaves_of_one_path_are_refused():
  with pytest.raises(InputError, match="the same path"):
    leaves_by_path({"a/b": _normal(1), "a": {"b": _normal(1)}})


def test_leaves_without_a_place_are_refused():
  with pytest.raises(InputError, match=r"no leaves \['c'\]"):
    merged({"a": _normal(1)}, {"c": _normal(1)})
