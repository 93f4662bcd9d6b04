"""Domains that are made: one way of distorting images each, drawn anew for every image.

Tasks of photographs alone do not tell a generator what sketches, digits or bad cameras do
to features. `IMITATING` are those that resemble what people test on, so that figures with
and without them can be told apart.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key, UInt8

from mcdi_jax.data.raw import Raw
from mcdi_jax.lib.errors import InputError

Image = Float[Array, "h w c"]
Distortion = Callable[[Key[Array, ""], Image], Image]
_BATCH = 256


def _between(key: Key[Array, ""], low: float, high: float) -> Float[Array, ""]:
  return jax.random.uniform(key, (), minval=low, maxval=high)


def _blurred(key: Key[Array, ""], x: Image) -> Image:
  """By a Gaussian of sd 2 to 5 % of the side."""
  side = max(x.shape[:2])
  reach = int(np.ceil(0.12 * side))
  offsets = jnp.arange(-reach, reach + 1)
  weights = jnp.exp(-0.5 * (offsets / (side * _between(key, 0.02, 0.05))) ** 2)
  weights = weights / weights.sum()
  for axis in (0, 1):
    pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
    one = lambda line: jnp.convolve(line, weights, mode="valid")  # noqa: E731
    x = jnp.apply_along_axis(one, axis, jnp.pad(x, pad, mode="reflect"))
  return x


def _noisy(key: Key[Array, ""], x: Image) -> Image:
  """Gaussian, sd 0.08 to 0.25."""
  k_amount, k_noise = jax.random.split(key)
  return x + _between(k_amount, 0.08, 0.25) * jax.random.normal(k_noise, x.shape)


def _textured(key: Key[Array, ""], x: Image) -> Image:
  """Under 35 to 60 % of a pattern of coloured waves."""
  k_amount, k_wave, k_phase, k_colour = jax.random.split(key, 4)
  place = jnp.stack(jnp.meshgrid(*map(jnp.arange, x.shape[:2]), indexing="ij"), -1)
  waves = 2 * jnp.pi * jax.random.normal(k_wave, (4, 2)) * 4 / max(x.shape[:2])
  phases = jax.random.uniform(k_phase, (4,), maxval=2 * jnp.pi)
  colours = jax.random.normal(k_colour, (4, x.shape[2]))
  pattern = jnp.sin(place @ waves.T + phases) @ colours
  amount = _between(k_amount, 0.35, 0.6)
  return (1 - amount) * x + amount * jax.nn.sigmoid(pattern)


def _recoloured(key: Key[Array, ""], x: Image) -> Image:
  """Channels mixed by a random rotation and gains."""
  k_turn, k_gain = jax.random.split(key)
  channels = x.shape[2]
  turn = jnp.linalg.qr(jax.random.normal(k_turn, (channels, channels)))[0]
  gain = jax.random.uniform(k_gain, (channels,), minval=0.6, maxval=1.4)
  return (x - 0.5) @ turn * gain + 0.5


def _posterised(key: Key[Array, ""], x: Image) -> Image:
  """To 2, 3 or 4 values a channel."""
  steps = jax.random.randint(key, (), 1, 4)
  return jnp.round(x * steps) / steps


def _rotated(key: Key[Array, ""], x: Image) -> Image:
  """By 45 to 315 degrees."""
  angle = _between(key, 0.25 * np.pi, 1.75 * np.pi)
  turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
  centre = jnp.array([x.shape[0] - 1, x.shape[1] - 1]) / 2
  place = jnp.stack(jnp.meshgrid(*map(jnp.arange, x.shape[:2]), indexing="ij"), -1)
  row, column = jnp.moveaxis((place - centre) @ turn + centre, -1, 0)
  one = lambda channel: map_coordinates(channel, [row, column], 1, "nearest")  # noqa: E731
  return jax.vmap(one, in_axes=-1, out_axes=-1)(x)


def _low_contrast(key: Key[Array, ""], x: Image) -> Image:
  """8 to 30 % of it, about any brightness."""
  k_amount, k_level = jax.random.split(key)
  amount = _between(k_amount, 0.08, 0.3)
  return amount * x + (1 - amount) * _between(k_level, 0.1, 0.9)


def _cut_out(key: Key[Array, ""], x: Image) -> Image:
  """Without a square of 40 to 60 % of the side."""
  k_side, k_place, k_level = jax.random.split(key, 3)
  share = _between(k_side, 0.4, 0.6)
  first = jax.random.uniform(k_place, (2,), maxval=1 - share)
  row, column = (jnp.linspace(0, 1, n) - a for n, a in zip(x.shape[:2], first, strict=True))
  inside = ((row >= 0) & (row <= share))[:, None] & (column >= 0) & (column <= share)
  return jnp.where(inside[..., None], jax.random.uniform(k_level, x.shape[2:]), x)


def _inverted(key: Key[Array, ""], x: Image) -> Image:
  del key
  return 1 - x


def _edges(key: Key[Array, ""], x: Image) -> Image:
  """How steeply brightness changes: dark lines on a bright ground."""
  del key
  grey = x.mean(-1)
  if min(grey.shape) < 2:
    raise InputError(
      f"edges of images of {x.shape[0]}×{x.shape[1]}: they need 2 pixels a side"
    )
  steep = jnp.hypot(*(jnp.gradient(grey, axis=axis) for axis in (0, 1)))
  steep = steep / jnp.maximum(jnp.quantile(steep, 0.95), 1e-3)
  return jnp.broadcast_to(1 - steep[..., None], x.shape)


def _two_tones(key: Key[Array, ""], x: Image) -> Image:
  """Black and white about the median of brightness, either way round."""
  grey = x.mean(-1, keepdims=True)
  light = grey > jnp.median(grey)
  return jnp.broadcast_to((light == jax.random.bernoulli(key)).astype(x.dtype), x.shape)


DISTORTIONS: dict[str, Distortion] = {
  "blurred": _blurred,
  "noisy": _noisy,
  "textured": _textured,
  "recoloured": _recoloured,
  "posterised": _posterised,
  "rotated": _rotated,
  "low_contrast": _low_contrast,
  "cut_out": _cut_out,
  "inverted": _inverted,
  "edges": _edges,
  "two_tones": _two_tones,
}
IMITATING = ("inverted", "edges", "two_tones")


def check_distortions(names: Sequence[str], setting: str) -> None:
  """A name is of `DISTORTIONS`, or several joined by +, each once: `noisy+rotated`.

  Raises:
    InputError: another name, or one twice; it names the setting.
  """
  if len(set(names)) < len(names):
    raise InputError(f"{setting} {', '.join(names)}: name each once")
  for name in names:
    parts = name.split("+")
    if len(set(parts)) < len(parts) or not set(parts) <= set(DISTORTIONS):
      raise InputError(
        f"{setting} is {name!r}: it has {[*DISTORTIONS]}, and several of them joined by +"
      )


def distorted(
  images: UInt8[np.ndarray, "n h w c"], name: str, *, seed: int = 0
) -> UInt8[np.ndarray, "n h w c"]:
  """Image i is the same whatever other images there are.

  Args:
    name: as in `check_distortions`; of several, one after the other.
    seed: 0: no other is needed.
  """
  for part in name.split("+"):
    images = _distorted(images, part, seed)
  return images


def _distorted(images: np.ndarray, name: str, seed: int) -> np.ndarray:
  distort = DISTORTIONS[name]
  root = jax.random.fold_in(jax.random.key(seed), list(DISTORTIONS).index(name))

  @jax.jit
  def apply(numbers: Array, x: Array) -> Array:
    keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(numbers)
    found = jax.vmap(distort)(keys, x.astype(jnp.float32) / 255)
    return jnp.round(255 * jnp.clip(found, 0, 1)).astype(jnp.uint8)

  found = []
  for start in range(0, len(images), _BATCH):
    some = images[start : start + _BATCH]
    filled = np.resize(some, (_BATCH, *images.shape[1:]))  # one shape for all
    numbers = start + jnp.arange(_BATCH)
    found.append(np.asarray(apply(numbers, filled))[: len(some)])
  return np.concatenate(found)


def with_distortions(
  raw: Raw, names: Sequence[str], per_class: int, *, setting: str
) -> Raw:
  """What is not for test also in each of the distortions, as domains; what there is stays
  first and as it is.

  Args:
    names: as in `check_distortions`.
    per_class: images of each class that are distorted, in each way.
    setting: that asks for them, for errors.

  Raises:
    InputError: a set that has domains already, or does not say which classes are for test.
  """
  check_distortions(names, setting)
  if raw.domain is not None:
    raise InputError(f"{setting}: {raw.name} has domains already: leave {setting} out")
  order = np.argsort(raw.labels, kind="stable")
  nth = np.empty(len(order), int)
  nth[order] = np.arange(len(order)) - np.searchsorted(raw.labels[order], raw.labels[order])
  if raw.split is None:
    raise InputError(
      f"{setting}: {raw.name} does not say which classes are for test, and these must stay "
      "as they are: give it a class_split (folders: train/, val/ and test/)"
    )
  asked = (nth < per_class) & (raw.split[raw.labels] < 2)
  if not asked.any():
    raise InputError(f"{setting}: all classes of {raw.name} are for test: leave it out")
  own = raw.images[asked]
  images = [raw.images, *(distorted(own, name) for name in names)]
  domain = np.repeat(["as they are", *names], [len(x) for x in images])
  labels = np.concatenate([raw.labels, np.tile(raw.labels[asked], len(names))])
  return raw._replace(images=np.concatenate(images), labels=labels, domain=domain)
