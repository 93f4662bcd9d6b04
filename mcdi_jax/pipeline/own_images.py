"""A user's image files in the form that a generator was trained on."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from mcdi_jax.data.folder import support_folders
from mcdi_jax.data.image_files import read_images, unreadable, walk
from mcdi_jax.data.images import (
  are_blank,
  border_brightness,
  resize,
  to_colour,
  to_grey,
)
from mcdi_jax.data.names import listed, natural_key, printable
from mcdi_jax.data.npz import read_npz
from mcdi_jax.data.raw import Raw, say_blank
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


class Images(NamedTuple):
  """x: uint8 [n, h, w, c] in a generator's form. paths: n files. bad: the reason, by each
  file that cannot be read."""

  x: np.ndarray
  paths: list[Path]
  bad: dict[Path, str]


def read_files(paths: list[Path], form: Form) -> Images:
  """Those that can be read, brought to the form; what was changed is said.

  Raises:
    DamagedError: none can be read.
  """
  changed: Counter[str] = Counter()
  read = read_images(paths, lambda image: _in_form(image, form, changed))
  _say_changed(changed, len(paths), form)
  if not read.images:
    raise unreadable(read.bad)
  return Images(np.stack(read.images), read.paths, read.bad)


def say_blank_files(images: Images) -> None:
  """Names the images to predict in which nothing is to be seen."""
  blank = [printable(images.paths[i].name) for i in np.flatnonzero(are_blank(images.x))]
  if blank:
    CONSOLE.print(
      f"{len(blank)} of {len(images.x)} images are all of one value: {listed(blank)}",
    )


def _say_changed(changed: Counter[str], total: int, form: Form) -> None:
  height, width, channels = form.shape
  colours = "grey" if channels == 1 else "colour"
  said = {
    "colours": f"converted to {colours}, as the generator was trained",
    "size": f"resized to {height}×{width} by area mean",
    "polarity": "inverted: their ground was like the ink of the training images",
  }
  for what, number in changed.items():
    CONSOLE.print(f"{number} of {total} images {said[what]}")


def _in_form(image: np.ndarray, form: Form, changed: Counter[str]) -> np.ndarray:
  """One image uint8 [h, w, c]; counts in `changed` what was done to it."""
  height, width, channels = form.shape
  if image.shape[-1] != channels:
    changed["colours"] += 1
    image = to_grey(image) if channels == 1 else to_colour(image)
  if image.shape[:2] != (height, width):
    changed["size"] += 1
    image = resize(image, (height, width))
  if _other_polarity(border_brightness(image[None]) / 255, form.border):
    changed["polarity"] += 1
    image = 255 - image
  return image


def _other_polarity(border: float, trained: float | None) -> bool:
  """Whether the ground is bright where that of the training images is dark, or dark where
  it is bright."""
  if trained is None or abs(trained - 0.5) < _CLEAR:
    return False
  return abs(border - trained) > _FAR


def read_support(
  path: PathLike, form: Form, shots: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Images float32 [n, h, w, c] in [0, 1], labels int32 [n] and the N class names of a
  folder of class folders, or of an `.npz` (`read_npz`); n is whatever there is.

  Args:
    shots: takes the first so many images of each class, by name (in an `.npz`: by
      place), or all where there are fewer. None: all.

  Raises:
    InputError: one class, or one in whose images nothing is to be seen.
    DamagedError: files that cannot be read, all of them named.
  """
  is_archive = str(path).endswith(".npz") and not files.as_path(path).is_dir()
  raw = (_from_archive if is_archive else _from_folder)(path, form, shots)
  count = np.bincount(raw.labels)
  if shots and count.min() < shots:
    CONSOLE.print(
      f"note: the class {raw.classes[count.argmin()]!r} has {count.min()} images, fewer "
      f"than --shots {shots}: all are taken",
    )
  say_blank(raw)
  seen = np.bincount(raw.labels[~are_blank(raw.images)], minlength=len(count))
  if not seen.all():
    raise InputError(
      f"the images of the class {raw.classes[seen.argmin()]!r} in {path} are all of one "
      f"value as the generator sees them, {'×'.join(map(str, form.shape[:2]))}: give "
      "images in which something is to be seen"
    )
  return raw.images.astype(np.float32) / 255, raw.labels, raw.classes


def _from_folder(root: PathLike, form: Form, shots: int | None) -> Raw:
  root = files.as_path(root)
  found = {name: paths[:shots] for name, paths in support_folders(root).items()}
  read = read_files([p for paths in found.values() for p in paths], form)
  if read.bad:
    raise unreadable(read.bad)
  labels = np.repeat(np.arange(len(found), dtype=np.int32), [*map(len, found.values())])
  origins = tuple(printable(str(p.relative_to(root))) for p in read.paths)
  return Raw(read.x, labels, tuple(found), None, root.name, origins)


def _from_archive(path: PathLike, form: Form, shots: int | None) -> Raw:
  raw = read_npz(str(path), size=0, grey=False, setting="--support")
  if raw.of_features:
    raise InputError(
      f"{path} holds features, and this generator takes images: give images, or a "
      "generator of heads on features"
    )
  if len(raw.classes) < 2:
    raise InputError(
      f"{path} has the class {raw.classes[0]!r} alone: at least two classes are needed"
    )
  if raw.images.shape[-1] not in (1, 3):
    raise InputError(
      f"images in {path} have {raw.images.shape[-1]} channels: give grey images or colours"
    )
  order = sorted(range(len(raw.classes)), key=lambda c: natural_key(raw.classes[c]))
  places = [np.flatnonzero(raw.labels == c)[:shots] for c in order]
  chosen = np.concatenate(places)
  changed: Counter[str] = Counter()
  x = np.stack([_in_form(raw.images[i], form, changed) for i in chosen])
  _say_changed(changed, len(chosen), form)
  labels = np.repeat(np.arange(len(order), dtype=np.int32), [*map(len, places)])
  classes = tuple(raw.classes[c] for c in order)
  return Raw(x, labels, classes, None, raw.name, tuple(f"images[{i}]" for i in chosen))


def image_files(root: PathLike) -> list[Path]:
  """The image files in a folder and below it, in natural order; or the one file.

  Raises:
    MissingError: none there.
  """
  root = files.as_path(root)
  if root.is_dir():
    found = [f for _, inside in walk(root) for f in inside]
  else:
    found = [root] if root.exists() else []
  if not found:
    raise MissingError(f"there is no image in {root}: give an image or a folder of them")
  return found
