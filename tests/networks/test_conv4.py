"""Convolution, conv-4 and the prototype head against their textbook forms."""

import functools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.networks import conv4, head, prototype_head, with_statistics
from mcdi_jax.networks.conv4 import (
  apply_blocks,
  apply_with_own_statistics,
)
from mcdi_jax.networks.convolution import (
  convolution,
  lax_convolution,
  patches_convolution,
)
from mcdi_jax.networks.head import apply_head
from mcdi_jax.networks.normalised import apply_in_groups

SHAPE, WIDTH = (37, 32, 2), 3  # odd sizes: pooling drops a row
NETWORK = conv4(SHAPE[-1], WIDTH)
APPLY = jax.jit(with_statistics(NETWORK).apply)


def _params(rng: np.random.Generator) -> dict:
  """conv-4 with gains of both signs, biases and statistics that are not the defaults."""
  normal = lambda *shape: rng.normal(size=shape)  # noqa: E731
  channels = [SHAPE[-1], WIDTH, WIDTH, WIDTH]
  weights = [
    {"kernel": normal(3, 3, a, WIDTH), "gain": normal(WIDTH), "bias": normal(WIDTH)}
    for a in channels
  ]
  for block in weights:
    block["gain"][0] *= -np.sign(block["gain"][0])  # at least one falls
  statistics = [{"mean": normal(WIDTH), "var": normal(WIDTH) ** 2} for _ in channels]
  return jax.tree.map(jnp.asarray, {"weights": weights, "statistics": statistics})


def _textbook(params: dict, x: jax.Array) -> jax.Array:
  """conv → batch normalisation → ReLU → 2×2 max-pooling, in this order."""
  for block, seen in zip(params["weights"], params["statistics"], strict=True):
    x = lax_convolution(x, block["kernel"])
    x = (x - seen["mean"]) / jnp.sqrt(seen["var"] + 1e-5) * block["gain"] + block["bias"]
    x = jnp.maximum(x, 0)
    window = (1, 2, 2, 1)
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
  return x.reshape(len(x), -1)


def test_patches_equal_the_accelerators_convolution():
  """Values and both gradients, in float64 to rounding."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 2)))
    cotangent = jnp.asarray(rng.normal(size=(2, 5, 4, 2)))
    found = []
    for form in (patches_convolution, lax_convolution):
      value, pull = jax.vjp(form, x, kernel)
      found.append((value, *pull(cotangent)))
    assert found[0][0].dtype == jnp.float64
    for ours, theirs in zip(*found, strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
  ("platform", "kind"), [("cpu", "dot_general"), ("cuda", "convolution")]
)
def test_a_program_has_the_convolution_of_its_platform(platform: str, kind: str):
  """Wherever it is exported; also with its gradient."""
  x, kernel = jnp.ones((2, 5, 4, 3)), jnp.ones((3, 3, 3, 2))
  loss = lambda x, kernel: jnp.sum(convolution(x, kernel) ** 2)  # noqa: E731
  for f in (convolution, jax.grad(loss)):
    text = jax.export.export(jax.jit(f), platforms=(platform,))(x, kernel).mlir_module()
    found = {name for name in ("dot_general", "convolution") if f"stablehlo.{name}" in text}
    assert found == {kind}


def test_the_maximum_may_be_taken_first():
  """Also where the gain is negative, and the image's sides are odd; float64."""
  rng = np.random.default_rng(1)
  with jax.enable_x64(True):
    params, x = _params(rng), jnp.asarray(rng.uniform(size=(4, *SHAPE)))
    found = APPLY(params, x)
    expected = jax.jit(_textbook)(params, x)
  assert found.shape == (4, 2 * 2 * WIDTH)
  assert (np.asarray(expected) > 0).any()
  np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_features_do_not_depend_on_the_rest_of_the_batch():
  rng = np.random.default_rng(2)
  params = jax.tree.map(jnp.float32, _params(rng))
  x = jnp.asarray(rng.uniform(size=(4, *SHAPE)), jnp.float32)
  together = APPLY(params, x)
  others = APPLY(params, x.at[1:].set(1 - x[1:]))
  np.testing.assert_array_equal(others[0], together[0])
  assert (np.asarray(others[1:]) != np.asarray(together[1:])).any(1).all()


def test_a_group_is_normalised_with_its_own_statistics():
  """With them put in as the statistics, `apply` gives the group's features; what comes
  back is their mean over the groups."""
  rng = np.random.default_rng(3)
  params = jax.tree.map(jnp.float32, _params(rng))
  x = jnp.asarray(rng.uniform(size=(6, *SHAPE)), jnp.float32)
  apply = jax.jit(functools.partial(apply_in_groups, NETWORK), static_argnames="group")
  features, mean = apply(params["weights"], x, group=3)
  first = lax_convolution(x, params["weights"][0]["kernel"]).reshape(2, 3, -1, WIDTH)
  np.testing.assert_allclose(mean[0]["mean"], first.mean((1, 2)).mean(0), atol=1e-5)
  np.testing.assert_allclose(mean[0]["var"], first.var((1, 2)).mean(0), rtol=1e-4)
  for group in (x[:3], x[3:]):
    own, seen = apply(params["weights"], group, group=3)
    again = APPLY({**params, "statistics": seen}, group)
    np.testing.assert_allclose(again, own, rtol=1e-4, atol=1e-4)  # rounding
    np.testing.assert_allclose(own, features[:3], rtol=1e-5, atol=1e-5)
    features = features[3:]


def test_images_that_do_not_count_have_no_part_in_the_statistics():
  """They may hold anything; with their own statistics given, features are the same."""
  rng = np.random.default_rng(5)
  params, x = _params(rng), jnp.float32(rng.uniform(size=(5, *SHAPE)))
  alone, seen = apply_with_own_statistics(params["weights"], x[:3])
  mask = jnp.array([True, True, True, False, False])
  among, same = apply_with_own_statistics(params["weights"], x, mask)
  np.testing.assert_allclose(among[:3], alone, rtol=1e-3, atol=1e-4)
  chex.assert_trees_all_close(same, seen, rtol=1e-4, atol=1e-5)
  given = apply_blocks(params["weights"], seen, x[:3])
  np.testing.assert_allclose(given, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_fresh_head(scale: float):
  network = head(400, 5, scale=scale)
  params = network.init(jax.random.key(0))
  kernel = np.asarray(params["head"]["kernel"])
  assert kernel.shape == (400, 5)
  np.testing.assert_allclose(kernel.std(), scale, rtol=0.1)  # 2000 draws: sd 1.6 %
  np.testing.assert_array_equal(params["head"]["bias"], np.zeros(5))
  x = jnp.eye(400)
  np.testing.assert_allclose(network.apply(params, x), kernel, rtol=1e-6)


def test_prototype_logits_are_minus_half_the_squared_distance():
  """Up to a number for each item, ½‖x‖²; float64."""
  rng = np.random.default_rng(4)
  shots, x = rng.normal(size=(5, 3, 7)), rng.normal(size=(6, 7))
  with jax.enable_x64(True):
    logits = apply_head(prototype_head(jnp.asarray(shots).mean(1)), jnp.asarray(x))
    logits = np.asarray(logits)
  distance = ((x[:, None] - shots.mean(1)) ** 2).sum(-1)
  expected = np.repeat(0.5 * (x**2).sum(1)[:, None], 5, axis=1)
  np.testing.assert_allclose(logits + 0.5 * distance, expected, rtol=1e-12)
