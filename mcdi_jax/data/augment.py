"""Slight random warps of images, for preparation on more than the drawings given."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key


def warp(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
  """Turned (sd 6°), scaled and sheared (sd 8 %), shifted (sd 1 pixel in 28)."""
  h, w, _ = image.shape
  k_turn, k_linear, k_shift = jax.random.split(key, 3)
  angle = 0.1 * jax.random.normal(k_turn)
  turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
  linear = turn + 0.08 * jax.random.normal(k_linear, (2, 2))
  shift = h / 28 * jax.random.normal(k_shift, (2,))
  centre = jnp.array([h - 1, w - 1]) / 2
  place = jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"), -1)
  y, x = jnp.moveaxis((place - centre) @ linear + centre + shift, -1, 0)
  one = lambda channel: map_coordinates(channel, [y, x], order=1)  # noqa: E731
  return jax.vmap(one, in_axes=-1, out_axes=-1)(image)
