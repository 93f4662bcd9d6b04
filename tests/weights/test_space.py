"""The weight space: what encode and decode keep, and what the gauge takes away."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.families import Heads
from mcdi_jax.networks.head import apply_head
from mcdi_jax.weights import Cut, WeightSpace, weight_space

WIDTH = 6
NEAR = {"rtol": 1e-12, "atol": 1e-12}  # float64 to rounding


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def _head(seed: int, ways: int = 5) -> Any:
  rng = np.random.default_rng(seed)
  kernel, bias = rng.normal(size=(WIDTH, ways)), 3 * rng.normal(size=ways)
  return {"head": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}


def _space(*, gauge: bool = True, scale: tuple[float, float] = (0.5, 3.0)) -> WeightSpace:
  space = weight_space(_head(0), Heads.cuts, gauge=gauge)
  return dataclasses.replace(space, scale=jnp.asarray(scale))


def _tokens(ways: int = 5) -> Any:
  return jnp.asarray(np.random.default_rng(9).normal(size=(ways, WIDTH + 1)))


def _centred_logits(params: Any) -> Any:
  x = jnp.asarray(np.random.default_rng(8).normal(size=(20, WIDTH)))
  logits = apply_head(params, x)
  return logits - logits.mean(1, keepdims=True)


@pytest.mark.parametrize("base", [None, _head(2)], ids=["no base", "base"])
@pytest.mark.parametrize("gauge", [True, False])
def test_encode_after_decode_is_the_identity_in_the_gauge(gauge: bool, base: Any):
  """For tokens in the gauge; other tokens come back projected. A base in another gauge
  changes nothing."""
  base = None if base is None else jax.tree.map(jnp.asarray, base)
  space = _space(gauge=gauge)
  z = _tokens()
  found = space.encode(space.decode(z, base), base)
  assert found.dtype == jnp.float64
  np.testing.assert_allclose(found, space.project(z), **NEAR)
  np.testing.assert_allclose(space.encode(space.decode(found, base), base), found, **NEAR)


@pytest.mark.parametrize("with_base", [False, True])
def test_decode_after_encode_keeps_every_prediction(with_base: bool):
  """Logits minus their mean over classes are equal; the params themselves differ by one
  vector added to all classes, or not at all without a gauge."""
  params, base = _head(1), _head(2) if with_base else None
  space = _space()
  found = space.decode(space.encode(params, base), base)
  np.testing.assert_allclose(_centred_logits(found), _centred_logits(params), **NEAR)
  apart = jax.tree.map(jnp.subtract, found, params)
  assert float(jnp.abs(apart["head"]["kernel"]).max()) > 0.01
  np.testing.assert_allclose(np.ptp(apart["head"]["kernel"], axis=1), 0, atol=1e-12)
  np.testing.assert_allclose(np.ptp(apart["head"]["bias"]), 0, atol=1e-12)
  free = _space(gauge=False)
  chex.assert_trees_all_close(free.decode(free.encode(params, base), base), params, **NEAR)


def test_bit_exact_with_scale_one_no_gauge_and_no_base():
  params, space = _head(1), _space(gauge=False, scale=(1.0, 1.0))
  chex.assert_trees_all_equal(space.decode(space.encode(params)), params, strict=True)
  z = _tokens()
  np.testing.assert_array_equal(space.encode(space.decode(z)), z)


def test_the_order_is_delta_then_gauge_then_scale():
  """By hand, leaf by leaf: (p − base − mean over classes) / scale."""
  params, base, space = _head(1), _head(2), _space(scale=(0.5, 3.0))
  kernel, bias = (params["head"][n] - base["head"][n] for n in ("kernel", "bias"))
  kernel, bias = kernel.T, bias[:, None]
  expected = np.concatenate(
    [(kernel - kernel.mean(0)) / 0.5, (bias - bias.mean(0)) / 3.0], axis=1
  )
  np.testing.assert_allclose(space.encode(params, base), expected, **NEAR)


def test_a_token_is_a_class():
  """Row c holds the weights of class c alone, kernel before bias."""
  space = _space(gauge=False, scale=(1.0, 1.0))
  params = _head(1)
  tokens = space.encode(params)
  assert space.width == WIDTH + 1
  for c in range(5):
    expected = [*params["head"]["kernel"][:, c], params["head"]["bias"][c]]
    np.testing.assert_array_equal(tokens[c], expected)


@pytest.mark.parametrize("ways", [2, 5, 11])
def test_one_space_serves_any_number_of_ways(ways: int):
  """It was specified by 5-way params."""
  space = _space()
  params, base = _head(3, ways), _head(4, ways)
  found = space.decode(space.encode(params, base), base)
  chex.assert_tree_all_finite(found)
  assert found["head"]["kernel"].shape == (WIDTH, ways)
  np.testing.assert_allclose(_centred_logits(found), _centred_logits(params), **NEAR)
  assert space.free_classes(ways) == ways - 1
  assert _space(gauge=False).free_classes(ways) == ways


@pytest.mark.parametrize("gauge", [True, False])
@pytest.mark.parametrize("ways", [2, 5])
def test_unit_noise_in_the_gauge_has_unit_rms(ways: int, gauge: bool):
  """20,000 draws: the sd of the estimate is below 1 % for the bias, less for the rest.
  Leading axes (tasks, targets) are averaged."""
  space = _space(gauge=gauge)
  noise = np.random.default_rng(0).normal(size=(5000, 4, ways, WIDTH + 1))
  noise = jnp.asarray(noise)
  rms = space.leaf_rms(space.project(noise))
  assert rms.shape == (2,)
  np.testing.assert_allclose(rms, 1, atol=0.03)
  scaled = noise * space._scales(ways, noise.dtype)
  np.testing.assert_allclose(space.leaf_rms(space.project(scaled)), [0.5, 3.0], rtol=0.03)


def test_projection():
  """Idempotent, linear, zero mean over the classes, batch axes apart."""
  space = _space()
  z = jnp.stack([_tokens(), 2 + _tokens()])
  found = space.project(z)
  np.testing.assert_allclose(found.mean(-2), 0, atol=1e-12)
  np.testing.assert_allclose(space.project(found), found, **NEAR)
  np.testing.assert_allclose(found[1], found[0], **NEAR)
  np.testing.assert_array_equal(_space(gauge=False).project(z), z)


def test_absent_classes_have_no_part():
  """The tokens of the others are what they are alone; their own are 0."""
  params, base = _head(1), _head(2)
  present = jnp.array([True, False, True, True, False])
  there = np.flatnonzero(present)
  pick = lambda p: jax.tree.map(lambda leaf: leaf[..., there], p)  # noqa: E731
  for gauge in (True, False):
    space = _space(gauge=gauge)
    found = space.encode(params, base, present)
    expected = space.encode(pick(params), pick(base))
    np.testing.assert_allclose(found[there], expected, **NEAR)
    assert not found[~np.asarray(present)].any()
    rms = space.leaf_rms(found, present)
    np.testing.assert_allclose(rms, space.leaf_rms(expected), **NEAR)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_leaves_come_back_in_their_own_dtype(dtype: str):
  """Tokens are float32 or wider in between, so that a narrow leaf loses nothing."""
  params = jax.tree.map(lambda leaf: leaf.astype(dtype), _head(1))
  space = dataclasses.replace(weight_space(params, Heads.cuts, gauge=False))
  tokens = space.encode(params)
  assert tokens.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
  chex.assert_trees_all_equal(space.decode(tokens), params, strict=True)


def test_dtype_and_class_axis_of_the_specification():
  """A leaf of higher rank, with its class axis in the middle."""
  params = {"a": {"w": jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)))}}
  space = weight_space(params, {"a/w": Cut("classes", 1)}, gauge=False)
  assert space.leaves[0].shape == (2, 3)
  assert space.leaves[0].width == 6
  tokens = space.encode(params)
  np.testing.assert_array_equal(tokens[2], params["a"]["w"][:, 2].reshape(-1))
  chex.assert_trees_all_equal(space.decode(tokens), params)


def test_the_specification_is_static_and_the_scale_a_leaf():
  space = _space()
  assert len(jax.tree.leaves(space)) == 1
  gradient = jax.grad(
    lambda s: s.encode(_head(1)).sum() + s.decode(_tokens())["head"]["bias"].sum()
  )(space)
  assert float(jnp.abs(gradient.scale).max()) > 0
  hash(jax.tree.structure(space))


def test_the_rms_of_more_numbers_than_an_int32_counts():
  """700 tasks of three targets of a million weights, traced alone."""
  params = {"big": jax.ShapeDtypeStruct((1000, 1100), jnp.float32)}
  space = weight_space(params, {"big": Cut("chunks", size=4400)})
  tokens = jax.ShapeDtypeStruct((700, 3, 250, 4400), jnp.float32)
  with jax.enable_x64(False):
    assert jax.eval_shape(space.leaf_rms, tokens).shape == (1,)
