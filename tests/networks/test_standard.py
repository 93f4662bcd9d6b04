"""Standardised features: one vector and one number, nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.networks import Network, fit_standardisation
from mcdi_jax.networks.standard import standardised

BARE = Network(lambda key: {}, lambda params, x: x.reshape(len(x), -1))


def test_fitted_features_have_mean_zero_and_squared_norm_one():
  """And their differences keep their proportions; float32 rounding."""
  x = jnp.float32(np.random.default_rng(0).normal(3.0, 0.5, (50, 2, 2, 1)))
  network = standardised(BARE, (2, 2, 1))
  fresh = network.init(jax.random.key(0))
  np.testing.assert_array_equal(network.apply(fresh, x), BARE.apply({}, x))
  params = fit_standardisation({}, BARE.apply({}, x))
  assert jax.tree.structure(params) == jax.tree.structure(fresh)
  found = network.apply(params, x)
  np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(jnp.sum(found**2, -1).mean(), 1, rtol=1e-5)
  apart = BARE.apply({}, x)[1:] - BARE.apply({}, x)[:-1]
  np.testing.assert_allclose((found[1:] - found[:-1]) * params["scale"], apart, atol=1e-5)
