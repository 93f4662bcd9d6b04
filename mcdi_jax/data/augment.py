"""Slight random changes of images, so that what learns sees more than those given."""

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


def flipped(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
  """Left to right, one image in two."""
  return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def cropped(
  image: Float[Array, "h w c"], key: Key[Array, ""], pad: int
) -> Float[Array, "h w c"]:
  """A window of the image's size, of the image with so many zeros on each side."""
  first = jax.random.randint(key, (2,), 0, 2 * pad + 1)
  padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  return jax.lax.dynamic_slice(padded, (*first, 0), image.shape)


def jittered(
  image: Float[Array, "h w c"], key: Key[Array, ""], amount: float
) -> Float[Array, "h w c"]:
  """Brightness, contrast and saturation, in this order, each multiplied by a number from
  1 − amount to 1 + amount."""
  brightness, contrast, saturation = jax.random.uniform(
    key, (3,), minval=1 - amount, maxval=1 + amount
  )
  image = brightness * image
  mean = image.mean()
  image = mean + contrast * (image - mean)
  grey = image.mean(-1, keepdims=True)
  return jnp.clip(grey + saturation * (image - grey), 0.0, 1.0)
