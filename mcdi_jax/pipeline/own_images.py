"""A user's image files in the form that a generator was trained on."""

from typing import NamedTuple

import numpy as np

from mcdi_jax.data.folder import class_folders
from mcdi_jax.data.images import (
  border_brightness,
  is_image,
  read_image,
  resize,
  to_colour,
  to_grey,
)
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE

_FAR = 0.5  # of the brightness range: ground and ink have changed places
_CLEAR = 0.25  # a ground so far from middling is dark or bright; that of photos is neither


class Form(NamedTuple):
  """What a generator's images look like.

  Attributes:
    shape: (h, w, c).
    border: mean brightness of the training images' borders, in [0, 1]; None: unknown.
  """

  shape: tuple[int, ...]
  border: float | None


def read_files(paths: list[Path], form: Form) -> np.ndarray:
  """float32 [n, h, w, c] in [0, 1], brought to the form; what was changed is said."""
  changed: dict[str, int] = {}
  images = [_in_form(read_image(path), form, changed) for path in paths]
  height, width, channels = form.shape
  colours = "grey" if channels == 1 else "colour"
  said = {
    "colours": f"converted to {colours}, as the generator was trained",
    "size": f"resized to {height}×{width} by area mean",
    "polarity": "inverted: their ground was like the ink of the training images",
  }
  for what, number in changed.items():
    CONSOLE.print(f"{number} of {len(paths)} images {said[what]}")
  return np.stack(images).astype(np.float32) / 255


def _in_form(image: np.ndarray, form: Form, changed: dict[str, int]) -> np.ndarray:
  """One image uint8 [h, w, c]; counts in `changed` what was done to it."""

  def count(what: str) -> None:
    changed[what] = changed.get(what, 0) + 1

  height, width, channels = form.shape
  if image.shape[-1] != channels:
    count("colours")
    image = to_grey(image) if channels == 1 else to_colour(image)
  if image.shape[:2] != (height, width):
    count("size")
    image = resize(image, (height, width))
  if _other_polarity(border_brightness(image[None]) / 255, form.border):
    count("polarity")
    image = 255 - image
  return image


def _other_polarity(border: float, trained: float | None) -> bool:
  """Whether the ground is bright where that of the training images is dark, or dark where
  it is bright."""
  if trained is None or abs(trained - 0.5) < _CLEAR:
    return False
  return abs(border - trained) > _FAR


def read_support(
  root: PathLike, form: Form, shots: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Images [N·K, h, w, c] in [0, 1], labels int [N·K] and the N class names of a folder
  of class folders.

  Args:
    shots: K; takes the first K images of each class, by name. None: all of them.

  Raises:
    InputError: one class, a class of too few images or of another number.
  """
  found = class_folders(root)
  number = min(map(len, found.values())) if shots is None else shots
  for name, paths in found.items():
    if len(paths) < number:
      raise InputError(
        f"the class {name!r} in {root} has {len(paths)} images: too few for --shots "
        f"{number}, so add some or lower it"
      )
    if shots is None and len(paths) > number:
      fewest = min(found, key=lambda n: len(found[n]))
      raise InputError(
        f"the class {name!r} in {root} has {len(paths)} images, {fewest!r} has {number}: "
        f"give every class the same number, or take the first {number} of each with "
        f"--shots {number}"
      )
  x = read_files([p for paths in found.values() for p in paths[:number]], form)
  return x, np.repeat(np.arange(len(found)), number), tuple(found)


def image_files(root: PathLike) -> list[Path]:
  """The image files in a folder and below it, sorted; or the one file.

  Raises:
    MissingError: none there.
  """
  root = files.as_path(root)
  if root.is_dir():
    found = [f for _, inside in files.folders_below(root) for f in inside if is_image(f)]
  else:
    found = [root] if root.exists() else []
  if not found:
    raise MissingError(f"there is no image in {root}: give an image or a folder of them")
  return found
