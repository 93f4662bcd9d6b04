"""Heads on features of any encoder: standardised by the support, of any width."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Features
from mcdi_jax.generator import Generator, GeneratorSpec, ScoreConfig, generate
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Support

FAMILY = Features(width=6, ways=(2, 3), shots=(1, 4))
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def _support(width: int = 6, shots: int = 4, ways: int = 3) -> Support:
  y = np.repeat(np.arange(ways), shots)
  x = RNG.normal(size=(len(y), width)) + 2 * RNG.normal(size=(ways, width))[y]
  return Support(jnp.asarray(x, jnp.float32), jnp.asarray(y))


def _generator(base: str = "none", family: Features = FAMILY) -> Generator:
  diffusion = DiffusionConfig(steps=3, schedule="linear_auto")
  score = ScoreConfig(width=8, layers=1, vectors=4, ridge=2)
  spec = GeneratorSpec(score, diffusion, family, base)
  made = blank(spec, jax.random.key(1))
  return dataclasses.replace(made, schedule=make_schedule(diffusion))


def test_shift_and_size_of_features_change_nothing():
  """Nor does a dimension without variance."""
  generator, support = _generator(), _support()
  queries = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
  params = generate(generator, support, KEY, ways=3)
  expected = generator.network.apply(params, queries)
  moved = lambda x: 7.0 * x + jnp.arange(6.0)  # noqa: E731
  other = generate(generator, support._replace(x=moved(support.x)), KEY, ways=3)
  found = generator.network.apply(other, moved(queries))
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
  flat = support._replace(x=support.x.at[:, 2].set(3.0))
  params = generate(generator, flat, KEY, ways=3)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_features_turned_and_in_more_dimensions_give_the_same_answers():
  """An isometry into another width: what a generator makes does not know the basis. The
  prototypes and ridge bases, too."""
  support = _support()
  queries = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
  turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(11, 6)))[0].T, jnp.float32)
  turned = support._replace(x=support.x @ turn)
  for base in ("none", "ridge", "ridge_loo", "prototypes"):
    generator = _generator(base)
    expected = generator.network.apply(generate(generator, support, KEY, ways=3), queries)
    params = generate(generator, turned, KEY, ways=3)
    assert params["head"]["kernel"].shape == (11, 3) and params["centre"].shape == (11,)
    found = generator.network.apply(params, queries @ turn)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_classes_of_unequal_size_have_equal_part_in_the_centre():
  support = _support()
  keep = np.array([0, 4, 5, 6, 7, 8, 9])
  few = Support(support.x[keep], support.y[keep])
  params = FAMILY.settled({}, {"head": {"bias": jnp.zeros(3)}}, few)
  means = [few.x[few.y == c].mean(0) for c in range(3)]
  np.testing.assert_allclose(params["centre"], np.mean(means, 0), rtol=1e-5)


def test_masked_items_may_hold_anything():
  generator, support = _generator("ridge_loo"), _support()
  x = jnp.concatenate([support.x, jnp.full((2, 6), jnp.nan)])
  y = jnp.concatenate([support.y, jnp.zeros(2, support.y.dtype)])
  masked = Support(x, y, jnp.arange(len(y)) < len(support.y))
  expected = generate(generator, support, KEY, ways=3)
  found = generate(generator, masked, KEY, ways=3)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_absent_classes_change_nothing():
  """Whatever the arrays are padded to."""
  generator, support = _generator("ridge_loo"), _support()
  expected = generate(generator, support, KEY, ways=3)
  masked = support._replace(mask=jnp.ones(len(support.y), bool))
  found = generate(generator, masked, KEY, ways=6)
  kernel = found["head"]["kernel"][:, :3]
  np.testing.assert_allclose(kernel, expected["head"]["kernel"], rtol=1e-3, atol=1e-3)


def test_without_a_centre_features_are_taken_as_they_are():
  family = dataclasses.replace(FAMILY, centre="none", unit_length=False)
  head = {"head": {"kernel": jnp.ones((6, 3)), "bias": jnp.zeros(3)}}
  assert "centre" not in family.settled({}, head, _support())
  x = jnp.asarray(RNG.normal(size=(2, 6)), jnp.float32)
  expected = np.repeat(np.sum(x, 1, keepdims=True) / 6**0.5, 3, 1)
  np.testing.assert_allclose(family.apply({}, head, x), expected, rtol=1e-4, atol=1e-5)


def test_bad_features_are_told():
  generator, support = _generator(), _support()
  for x, message in (
    (support.x[None], r"support.x has shape \(1, 12, 6\): give features"),
    (support.x.at[0, 0].set(jnp.nan), "support.x has NaN"),
    (support.x.astype(jnp.int32), "support.x is int32: give floats"),
  ):
    with pytest.raises(InputError, match=message):
      generate(generator, support._replace(x=x), KEY, ways=3)
  with pytest.raises(InputError, match="params have no centre"):
    generator.network.apply({"head": {"kernel": jnp.ones((6, 3))}}, support.x)
