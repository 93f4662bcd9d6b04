"""Warps: the same picture, slightly moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data.augment import warp


@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 28, 3)])
def test_a_warp_keeps_shape_and_range_and_stays_near(shape: tuple[int, ...]):
  """A smooth blob in the middle: its mass stays within 40 %, its centre within 4 sd of
  the shift, and it does change."""
  h, w, channels = shape
  y, x = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
  blob = jnp.exp(-((y - h / 2) ** 2 + (x - w / 2) ** 2) / 18)
  image = jnp.repeat(blob[..., None], channels, -1)
  keys = jax.random.split(jax.random.key(0), 32)
  warped = jax.jit(jax.vmap(warp, in_axes=(None, 0)))(image, keys)
  assert warped.shape == (32, *shape)
  assert warped.dtype == image.dtype
  assert float(warped.min()) >= 0
  assert float(warped.max()) <= 1 + 1e-6  # interpolation weights add up to 1, rounded
  mass = warped.sum((1, 2))
  np.testing.assert_allclose(mass / image.sum((0, 1)), 1, atol=0.4)
  for place, middle in ((y, h / 2), (x, w / 2)):
    centre = (warped * place[..., None]).sum((1, 2)) / mass
    assert float(jnp.abs(centre - middle).max()) < 4
    assert float(centre.std()) > 0.3
  assert float(jnp.abs(warped - image).max((1, 2, 3)).min()) > 0.01
  np.testing.assert_allclose(warped[..., :1] - warped, 0, atol=1e-6)  # channels alike
