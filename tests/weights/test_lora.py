"""Low-rank adapters: what they add, and the one pair that a product has."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Network, conv4, with_statistics
from mcdi_jax.weights import Cut, weight_space
from mcdi_jax.weights.lora import canonical, distinct, init_adapters, lora, merge_adapters

RANK = 2


class _Mlp(nn.Module):
  @nn.compact
  def __call__(self, x: Any) -> Any:
    return nn.Dense(4)(nn.relu(nn.Dense(6)(x)))


X = jnp.float32(np.random.default_rng(0).normal(size=(3, 5)))
MLP = Network(lambda key: _Mlp().init(key, X), _Mlp().apply)


def _filled(params: Any) -> Any:
  rng = np.random.default_rng(1)
  draw = lambda leaf: jnp.float32(rng.normal(size=leaf.shape))  # noqa: E731
  return params | {"b": jax.tree.map(draw, params["b"])}


def test_fresh_adapters_change_nothing():
  params = lora(MLP, "*kernel", RANK).init(jax.random.key(0))
  expected = MLP.apply(params["base"], X)
  np.testing.assert_array_equal(lora(MLP, "*kernel", RANK).apply(params, X), expected)


def test_a_wrapped_network_equals_the_merged_one():
  """And both are W + A B, by hand."""
  adapted = lora(MLP, "*kernel", RANK)
  params = _filled(adapted.init(jax.random.key(0)))
  merged = merge_adapters(params)
  found = adapted.apply(params, X)
  np.testing.assert_allclose(found, MLP.apply(merged, X), rtol=1e-6)
  assert abs(found - MLP.apply(params["base"], X)).max() > 0.1
  dense, b = params["base"]["params"]["Dense_1"], params["b"]["params"]["Dense_1"]
  a = params["a"]["params"]["Dense_1"]["kernel"]
  expected = np.float64(dense["kernel"]) + np.float64(a) @ np.float64(b["kernel"])
  np.testing.assert_allclose(merged["params"]["Dense_1"]["kernel"], expected, rtol=1e-5)
  np.testing.assert_array_equal(merged["params"]["Dense_1"]["bias"], dense["bias"])


def test_a_convolution_is_a_matrix_of_its_inputs():
  network = with_statistics(conv4(1, 8))
  params = lora(network, "weights/*/kernel", 3).init(jax.random.key(0))
  shapes = jax.tree.map(jnp.shape, (params["a"], params["b"]))
  a, b = (tree["weights"]["1"]["kernel"] for tree in shapes)
  assert (a, b) == ((72, 3), (3, 8))
  images = jnp.ones((2, 16, 16, 1))
  assert lora(network, "weights/*/kernel", 3).apply(_filled(params), images).shape == (2, 8)


def test_what_is_generated_is_b_alone():
  params = _filled(lora(MLP, "*kernel", RANK).init(jax.random.key(0)))
  space = weight_space(params, {"b/*": Cut("rows")}, gauge=False)
  assert space.weights(0) == RANK * (6 + 4)
  assert space.rows(0) == 2 * RANK
  np.testing.assert_allclose(
    space.decode(space.encode(params))["b"]["params"]["Dense_0"]["kernel"],
    params["b"]["params"]["Dense_0"]["kernel"],
    rtol=1e-6,
  )


def _pair(seed: int) -> tuple[Any, Any]:
  rng = np.random.default_rng(seed)
  return (jnp.asarray(rng.normal(size=shape)) for shape in ((7, 3), (3, 5)))


def test_an_adapter_of_another_base_is_refused():
  """In one sentence that names the leaf, whether it is not there or has another shape."""
  base = {"one": jnp.ones((6, 5)), "two": jnp.ones((4, 3))}
  params = init_adapters(jax.random.key(0), base, "*", 2)
  for other, said in (
    ({"one": base["one"]}, "of another base: this one has no leaf two"),
    ({**base, "two": jnp.ones((4, 7))}, r"leaf two is \(4, 7\), A B \(4, 3\)"),
  ):
    with pytest.raises(InputError, match=said):
      merge_adapters({"base": other, **params})
  with pytest.raises(InputError, match=r"different leaves: \['two'\]"):
    merge_adapters({"base": base, "a": params["a"], "b": {"one": params["b"]["one"]}})


def test_all_pairs_of_a_product_have_one_canonical_form():
  """Whatever invertible matrix stands between them, signs included; float64."""
  with jax.enable_x64(True):
    a, b = _pair(0)
    first = canonical(a, b)
    np.testing.assert_allclose(first[0] @ first[1], a @ b, rtol=1e-10)
    for seed in range(1, 5):
      between = np.random.default_rng(seed).normal(size=(3, 3))
      again = canonical(a @ between, jnp.linalg.solve(between, b))
      for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
    assert (first[0].max(0) >= -first[0].min(0)).all()


def test_products_without_one_form_are_told():
  with jax.enable_x64(True):
    a, b = _pair(0)
    assert distinct(a, b)
    assert not distinct(a.at[:, 1].set(2 * a[:, 0]), b)  # of rank 2
    u = jnp.linalg.qr(a)[0]
    assert not distinct(u, jnp.eye(3, 5))  # all values are 1


@pytest.mark.parametrize(
  ("pattern", "rank", "said"),
  [
    ("head/*", 2, r"the pattern 'head/\*' fits no leaf: there are \['params/Dense_0/bias'"),
    ("*bias", 2, r"bias has shape \(.,\): only matrices have adapters"),
    ("*kernel", 4, "rank is 4: leaf params/Dense_0/kernel is 6×4, so give 1 to 3"),
    ("*kernel", 0, "rank is 0"),
  ],
)
def test_what_has_no_adapter_is_refused_in_one_sentence(pattern: str, rank: int, said: str):
  with pytest.raises(InputError, match=said):
    init_adapters(jax.random.key(0), MLP.init(jax.random.key(0)), pattern, rank)
