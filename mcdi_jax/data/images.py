"""Reading images, and bringing them to one form: size, colours, polarity."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.lib.files import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
_LUMA = (299, 587, 114)  # thousandths; ITU-R BT.601


def is_image(path: Path) -> bool:
  return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> np.ndarray:
  """uint8 [h, w, c], c = 1 for grey files and 3 for all others, also for those with
  transparency, which is laid on white.

  Raises:
    DamagedError: no image, or one that is cut short.
  """
  try:
    with path.open("rb") as f, Image.open(f) as image:
      image = ImageOps.exif_transpose(image)  # phones turn pictures by a note in the file
      if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))[..., None]
      if image.mode.startswith(("I", "F")):  # 16 bits and more, as scanners write them
        pixels = np.asarray(image, np.float64)
        bits_16 = image.mode.startswith("I;16") or pixels.max(initial=0) > 255
        return _to_bytes(pixels, 65535 if bits_16 else 255)[..., None]
      image = image.convert("RGBA")
      white = Image.new("RGBA", image.size, "white")
      return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
  except UnidentifiedImageError:
    reason = "its content is of no known format"
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    reason = " ".join(str(error).replace(str(path), "it").split())
  raise DamagedError(
    f"{path} cannot be read as an image ({reason}): remove it or save it again"
  )


def _to_bytes(pixels: np.ndarray, most: int) -> np.ndarray:
  return np.rint(np.clip(pixels, 0, most) * (255 / most)).astype(np.uint8)


def to_grey(images: np.ndarray) -> np.ndarray:
  """[..., c] to [..., 1]: the luma of three channels, to the nearest integer."""
  if images.shape[-1] == 1:
    return images
  if images.shape[-1] < 3:
    raise InputError(
      f"images of {images.shape[-1]} channels have no grey form: set "
      "--config.data.grey=False"
    )
  luma = images[..., :3] @ np.asarray(_LUMA)  # whole numbers: the same on every machine
  return np.rint(luma / 1000).astype(np.uint8)[..., None]


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
  total = np.einsum("ih,...hwc,jw->...ijc", rows, images, columns, optimize=True)
  return np.rint(total / (height * width)).astype(np.uint8)


def _overlaps(old: int, new: int) -> np.ndarray:
  """[new, old]: how many of the `old` parts of new pixel i lie in old pixel j. Whole
  numbers, so that their sums are exact in any order and on every machine."""
  i, j = np.arange(new)[:, None], np.arange(old)
  stop, start = np.minimum((i + 1) * old, (j + 1) * new), np.maximum(i * old, j * new)
  return np.clip(stop - start, 0, None).astype(np.float64)


def border_brightness(images: np.ndarray) -> float:
  """Mean over the border pixels of [n, h, w, c], in [0, 255]: that of the ground."""
  edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
  return float(np.mean([np.mean(edge) for edge in edges]))
