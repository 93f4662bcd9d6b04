"""What every source of images gives, before it is split."""

from typing import NamedTuple

import numpy as np

from mcdi_jax.data.images import border_brightness, resize, to_grey
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE


class Raw(NamedTuple):
  """Labelled images.

  Attributes:
    images: uint8 [n, h, w, c].
    labels: int32 [n] in 0..C−1, every class present.
    classes: C names.
    split: int [C] of 0/1/2 = train/val/test, if the source's authors split the classes.
    name: of the set, for results.
  """

  images: np.ndarray
  labels: np.ndarray
  classes: tuple[str, ...]
  split: np.ndarray | None
  name: str


def in_form(image: np.ndarray, size: int, grey: bool) -> np.ndarray:
  """One image [h, w, c] (or a batch) in the size and colours that are asked for."""
  if grey:
    image = to_grey(image)
  return resize(image, (size, size)) if size else image


def in_polarity(images: np.ndarray, invert: str, name: str) -> np.ndarray:
  """`auto` inverts dark ink on bright ground, and says so."""
  if invert == "auto" and border_brightness(images) > 127.5:
    CONSOLE.print(f"{name}: dark ink on bright ground, inverted (config.data.invert)")
    invert = "always"
  return 255 - images if invert == "always" else images


def stacked(images: list[np.ndarray], name: str) -> np.ndarray:
  """Raises `InputError` where the images do not have one shape."""
  shapes = sorted({image.shape for image in images})
  if len({shape[:2] for shape in shapes}) > 1:
    raise InputError(
      f"the images of {name} have different sizes ({_size(shapes[0])} and "
      f"{_size(shapes[-1])} among them): set config.data.size, such as "
      "--config.data.size=28"
    )
  if len(shapes) > 1:
    raise InputError(
      f"some images of {name} are grey and some are in colour: set --config.data.grey=True"
    )
  return np.stack(images)


def _size(shape: tuple[int, ...]) -> str:
  return f"{shape[0]}×{shape[1]}"


def in_canonical_order(raw: Raw) -> Raw:
  """Images by class, those of a class by their bytes: so a set gives the same tasks from
  whatever source it is read."""
  flat = np.ascontiguousarray(raw.images.reshape(len(raw.images), -1))
  content = flat.view(np.dtype((np.void, flat.shape[1]))).ravel()
  by_content = np.argsort(content, kind="stable")
  order = by_content[np.argsort(raw.labels[by_content], kind="stable")]
  return raw._replace(images=raw.images[order], labels=raw.labels[order])
