"""Images as arrays: one reading of one content, and one form: size, colours."""

from collections.abc import Iterator

import numpy as np

from mcdi_jax.lib.errors import InputError

_LUMA = np.asarray((299, 587, 114))  # thousandths; ITU-R BT.601
_LIGHT = 191  # ink brighter than this could hardly be seen on white
_BLANK = 2  # levels of 255 that compression may make out of nothing
_BLOCK = 2**22  # numbers at a time in wider arithmetic, so that memory is bounded


def as_image(pixels: np.ndarray) -> np.ndarray:
  """uint8 [h, w, c] of one image [h, w] or [h, w, c] of any numbers (`as_bytes`).

  One content gives one reading, in whatever form it was stored: a fourth channel is
  transparency, which is laid on white, or on black where what is seen is light itself;
  three equal channels are one.
  """
  image = as_bytes(pixels)
  image = image[..., None] if image.ndim == 2 else image
  if image.shape[-1] == 4:
    image = _opaque(image)
  if image.shape[-1] == 3 and _is_grey(image):
    image = image[..., :1]
  return image


def as_bytes(pixels: np.ndarray) -> np.ndarray:
  """Any numbers as uint8 0..255, to the nearest integer.

  False/True are 0/255; uint16 runs to 65535. The range of other numbers is told by the
  largest: floats to 1, to 255 or to 65535; integers to 255 or to 65535.

  Raises:
    InputError: numbers outside of these ranges, or no numbers.
  """
  kind, bits = pixels.dtype.kind, 8 * pixels.dtype.itemsize
  if kind == "b":
    return pixels.astype(np.uint8) * 255
  if (kind == "u" and bits == 8) or not pixels.size:
    return pixels.astype(np.uint8, copy=False)
  if kind not in "uif":
    raise InputError(f"pixels of type {pixels.dtype} are no brightness: give 0..255")
  least, most = float(pixels.min()), float(pixels.max())
  tops = (65535,) if kind == "u" and bits == 16 else (255, 65535)
  slack = 0.05 if kind == "f" else 0  # a resize may overshoot
  tops = (1, *tops) if kind == "f" else tops
  top = next((t for t in tops if most <= t * (1 + slack)), None)
  if top is None or not least >= -slack * top:  # also where they are not finite
    raise InputError(
      f"pixels run from {least:g} to {most:g}: give 0..255, 0..65535 or floats 0..1"
    )
  wide = np.float64 if bits > 32 else np.float32
  found = np.empty(pixels.shape, np.uint8)
  for block in _blocks(pixels):
    found[block] = np.rint(np.clip(pixels[block], 0, top).astype(wide) * wide(255 / top))
  return found


def _blocks(pixels: np.ndarray) -> Iterator[slice]:
  """Parts of the first axis."""
  step = max(1, _BLOCK * len(pixels) // max(1, pixels.size))
  return (slice(a, a + step) for a in range(0, len(pixels), step))


def _opaque(image: np.ndarray) -> np.ndarray:
  """[h, w, 4] to [h, w, 3]."""
  found = np.empty((*image.shape[:2], 3), np.uint8)
  alpha = image[..., 3:]
  ground = 255
  seen = alpha.sum(dtype=np.int64)
  if seen and seen < 255 * alpha.size:
    light = sum(
      int((to_grey(image[b, :, :3]).astype(np.int32) * alpha[b]).sum(dtype=np.int64))
      for b in _blocks(image)
    )
    ground = 0 if light > _LIGHT * seen else 255
  for b in _blocks(image):
    share = alpha[b].astype(np.int32)
    found[b] = (image[b, :, :3] * share + ground * (255 - share) + 127) // 255
  return found


def _is_grey(image: np.ndarray) -> bool:
  first = image[..., 0]
  return all(np.array_equal(first, image[..., c]) for c in (1, 2))


def to_grey(images: np.ndarray) -> np.ndarray:
  """[..., c] to [..., 1]: the luma of three channels, to the nearest integer."""
  if images.shape[-1] == 1:
    return images
  if images.shape[-1] != 3:
    raise InputError(
      f"images of {images.shape[-1]} channels have no grey form: set "
      "--config.data.grey=False"
    )
  found = np.empty((*images.shape[:-1], 1), np.uint8)
  for b in _blocks(images):  # whole numbers: the same on every machine
    found[b] = np.rint(images[b].astype(np.int32) @ _LUMA / 1000)[..., None]
  return found


def to_colour(images: np.ndarray) -> np.ndarray:
  """[..., 1] to [..., 3]."""
  return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[..., h, w, c] to [..., size, c]: the mean over the area that each new pixel covers,
  parts of old pixels by their share, to the nearest integer."""
  if images.shape[-3:-1] == tuple(size):
    return images
  height, width = images.shape[-3:-1]
  rows, columns = _overlaps(height, size[0]), _overlaps(width, size[1])
  step = max(1, _BLOCK * height // images.size)
  total = 0.0
  for a in range(0, height, step):
    b = slice(a, a + step)
    part = images[..., b, :, :]
    total = total + np.einsum(
      "ih,...hwc,jw->...ijc", rows[:, b], part, columns, optimize=True
    )
  return np.rint(total / (height * width)).astype(np.uint8)


def _overlaps(old: int, new: int) -> np.ndarray:
  """[new, old]: how many of the `old` parts of new pixel i lie in old pixel j. Whole
  numbers, so that their sums are exact in any order and on every machine."""
  i, j = np.arange(new)[:, None], np.arange(old)
  stop, start = np.minimum((i + 1) * old, (j + 1) * new), np.maximum(i * old, j * new)
  return np.clip(stop - start, 0, None).astype(np.float64)


def border_brightness(images: np.ndarray) -> float:
  """Mean over the border pixels of [n, h, w, c], in [0, 255]: that of the ground."""
  return float(np.mean(each_border_brightness(images)))


def each_border_brightness(images: np.ndarray) -> np.ndarray:
  """float64 [n]: the same of each image."""
  edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
  return np.mean([np.mean(edge, (1, 2)) for edge in edges], 0)


def are_blank(images: np.ndarray) -> np.ndarray:
  """bool [n]: which of [n, h, w, c] are all of one value, so that nothing is to be seen."""
  axes = (1, 2, 3)
  return images.max(axes).astype(int) - images.min(axes) <= _BLANK
