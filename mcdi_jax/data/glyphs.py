"""Glyphs: characters drawn by a procedure; a data set that needs no download.

A class is a handful of random Bézier strokes; an instance moves their control points a
little, applies an affine map and draws them with a pen of its own thickness. A class is
a function of its key alone, so there are as many classes as there are keys.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from mcdi_jax.data.class_set import ClassSet, from_labels

SIZE = 28
STROKES = 4
_SEGMENTS = 10  # straight pieces a stroke; finer ones do not change a pixel by 1/255


def glyph_class(
  key: Key[Array, ""],
) -> tuple[Float[Array, "S 4 2"], Float[Array, " S"]]:
  """Cubic control points of the strokes, in [0, 1]², and 1 for each stroke that is drawn.

  Strokes often start where the one before ended, as handwriting does.
  """
  k_points, k_joined, k_number = jax.random.split(key, 3)
  points = jax.random.uniform(k_points, (STROKES, 4, 2), minval=0.12, maxval=0.88)
  joined = jax.random.bernoulli(k_joined, 0.5, (STROKES,))
  starts = jnp.where(joined[1:, None], points[:-1, 3], points[1:, 0])
  points = points.at[1:, 0].set(starts)
  number = jax.random.randint(k_number, (), 2, STROKES + 1)
  return points, (jnp.arange(STROKES) < number).astype(jnp.float32)


def draw_glyph(
  points: Float[Array, "S 4 2"], drawn: Float[Array, " S"], key: Key[Array, ""]
) -> UInt8[Array, "28 28 1"]:
  """One drawing of a class: jittered, mapped and anti-aliased; ink is 255."""
  k_jitter, k_linear, k_shift, k_pen = jax.random.split(key, 4)
  points = points + 0.04 * jax.random.normal(k_jitter, points.shape)
  linear = jnp.eye(2) + 0.15 * jax.random.normal(k_linear, (2, 2))
  shift = 0.04 * jax.random.normal(k_shift, (2,))
  points = (points - 0.5) @ linear + 0.5 + shift
  pen = jax.random.uniform(k_pen, minval=0.7, maxval=1.4)  # half width in pixels

  s = jnp.linspace(0.0, 1.0, _SEGMENTS + 1)[:, None]
  basis = jnp.concatenate(
    [(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3], axis=1
  )
  curve = SIZE * jnp.einsum("pq,sqd->spd", basis, points)
  distance = _distance_to_strokes(curve, drawn)
  ink = jnp.clip(pen + 0.5 - distance, 0.0, 1.0)
  return jnp.round(255 * ink).astype(jnp.uint8)[..., None]


def _distance_to_strokes(
  curve: Float[Array, "S P 2"], drawn: Float[Array, " S"]
) -> Float[Array, "28 28"]:
  """Distance in pixels from each pixel's centre to the nearest piece of a drawn stroke;
  one piece after the other, so that all pixels go through the vector units together."""
  centres = jnp.arange(SIZE) + 0.5
  py, px = centres[:, None], centres
  start = curve[:, :-1].reshape(-1, 2)
  step = (curve[:, 1:] - curve[:, :-1]).reshape(-1, 2)
  far = jnp.repeat(jnp.where(drawn > 0, 0.0, jnp.inf), curve.shape[1] - 1)

  def nearer(square, piece):
    (ay, ax), (dy, dx), far = piece
    along = ((py - ay) * dy + (px - ax) * dx) / jnp.maximum(dy**2 + dx**2, 1e-6)
    along = jnp.clip(along, 0.0, 1.0)
    here = (py - ay - along * dy) ** 2 + (px - ax - along * dx) ** 2
    return jnp.minimum(square, here + far), None

  infinite = jnp.full((SIZE, SIZE), jnp.inf)
  return jnp.sqrt(jax.lax.scan(nearer, infinite, (start, step, far))[0])


@functools.partial(jax.jit, static_argnames="per_class")
def _draw(keys: Key[Array, " C"], per_class: int) -> UInt8[Array, "C n 28 28 1"]:
  def one_class(key: Key[Array, ""]) -> UInt8[Array, "n 28 28 1"]:
    k_class, k_drawings = jax.random.split(key)
    points, drawn = glyph_class(k_class)
    keys = jax.random.split(k_drawings, per_class)
    return jax.vmap(lambda k: draw_glyph(points, drawn, k))(keys)

  return jax.lax.map(one_class, keys)


def glyphs(key: Key[Array, ""], *, classes: int, per_class: int) -> ClassSet:
  """`classes` characters with `per_class` drawings each, uint8 [n, 28, 28, 1]."""
  x = np.asarray(_draw(jax.random.split(key, classes), per_class))
  labels = np.repeat(np.arange(classes), per_class)
  return from_labels(x.reshape(-1, SIZE, SIZE, 1), labels)
