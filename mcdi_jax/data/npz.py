"""An `.npz` of images and labels."""

import zipfile
import zlib

import numpy as np

from mcdi_jax.data.raw import Raw, in_form, stacked
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path


def read_npz(path: str, *, size: int, grey: bool) -> Raw:
  """`images` uint8 [n, h, w, c], `labels` int [n]; optionally `classes` (names) and
  `class_split` (0/1/2 for each class).

  Raises:
    MissingError, DamagedError, InputError: no such file, or not this content.
  """
  place = files.as_path(path)
  if not path or not place.exists():
    raise MissingError(
      f"config.data.path is {path!r}, where there is no file: give an .npz with --data PATH"
    )
  content = _read_archive(place)
  images, labels = _checked(content, path)
  count = int(labels.max()) + 1
  classes = content.get("classes", np.arange(count)).astype(str)
  if classes.shape != (count,):
    raise InputError(f"classes in {place} must hold {count} names, one for each label")
  split = content.get("class_split")
  if split is not None and (split.shape != (count,) or not np.isin(split, (0, 1, 2)).all()):
    raise InputError(f"class_split in {place} must hold 0, 1 or 2 for {count} classes")
  if size or grey:  # one by one: in the arithmetic a large set takes many times its size
    images = stacked([in_form(image, size, grey) for image in images], path)
  return Raw(images, labels, tuple(classes), split, place.stem)


def _read_archive(path: Path) -> dict[str, np.ndarray]:
  try:
    with path.open("rb") as f, np.load(f) as archive:
      if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DamagedError(f"config.data.path {path} is a single array: give an .npz")
      return {name: archive[name] for name in archive.files}
  except (OSError, EOFError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
    raise DamagedError(f"config.data.path {path} cannot be read: {error}") from None
  except ValueError as error:
    raise DamagedError(f"config.data.path {path} is not an .npz: {error}") from None


def _checked(content: dict[str, np.ndarray], path: str) -> tuple[np.ndarray, np.ndarray]:
  """Images uint8 [n, h, w, c] and labels int32 [n], or one sentence on what is wrong."""
  for key in ("images", "labels"):
    if key not in content:
      raise InputError(f"{path} has no array {key!r}: it holds {sorted(content)}")
  images, labels = content["images"], content["labels"]
  if images.dtype != np.uint8 or images.ndim != 4:
    raise InputError(
      f"images in {path} are {images.dtype} {images.shape}: uint8 [n, h, w, c] is needed"
    )
  if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
    raise InputError(
      f"labels in {path} are {labels.dtype} {labels.shape}: int [{len(images)}] is needed"
    )
  count = np.bincount(labels) if len(labels) and labels.min() >= 0 else np.zeros(1)
  if not count.all():
    raise InputError(f"labels in {path} must cover 0..C-1, each class with an image")
  return images, labels.astype(np.int32)
