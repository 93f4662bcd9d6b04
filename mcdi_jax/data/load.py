"""Data by setting: an `.npz` of images and labels, or the embedded glyphs."""

import dataclasses
import hashlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np

from mcdi_jax.data.class_set import ClassSet, from_labels
from mcdi_jax.data.glyphs import glyphs
from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.progress import CONSOLE

SPLITS = ("train", "val", "test")
_SHARES = (0.64, 0.16, 0.20)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where the images come from.

  Attributes:
    source: `npz` reads `path`; `glyphs` draws characters and needs no file.
    path: an `.npz` with `images` uint8 [n, h, w, c], `labels` int [n] and, if its authors
      split the classes, `class_split` [classes] of 0/1/2 = train/val/test.
    split_seed: splits the classes 64/16/20 % where there is no `class_split`.
    rotations: add the images turned by 90°, 180° and 270° as classes of their own, in
      meta-training and validation. The test classes are evaluated both ways.
    glyph_classes: classes to draw for train, val and test.
    glyph_drawings: drawings a class.
  """

  source: Literal["npz", "glyphs"] = "glyphs"
  path: str = ""
  split_seed: int = 0
  rotations: bool = False
  glyph_classes: tuple[int, ...] = (800, 100, 200)
  glyph_drawings: int = 20


class Splits(NamedTuple):
  """Class-disjoint sets and what identifies them.

  Attributes:
    name: for results, such as `omniglot`.
    digest: sha256 of the content: of the file and its split, or of the drawing's settings.
  """

  train: ClassSet
  val: ClassSet
  test: ClassSet
  name: str
  digest: str

  @property
  def image_shape(self) -> tuple[int, ...]:
    return tuple(self.train.x.shape[1:])


def load_splits(config: DataConfig) -> Splits:
  """Raises `MissingError`, `DamagedError` or `InputError` where there is no such data."""
  sources: dict[str, Callable[[DataConfig], Splits]] = {"npz": _npz, "glyphs": _glyphs}
  return sources[config.source](config)


def _glyphs(config: DataConfig) -> Splits:
  counts, drawings = config.glyph_classes, config.glyph_drawings
  fit = len(counts) == 3 and min(counts) >= 1
  remedy = "give three counts of at least 1, for train, val and test"
  check(fit, "config.data.glyph_classes", counts, remedy)
  check(drawings >= 1, "config.data.glyph_drawings", drawings, "give at least 1")
  key, number = jax.random.key(config.split_seed), config.glyph_drawings
  drawn = glyphs(key, classes=sum(config.glyph_classes), per_class=number)
  ends = np.cumsum(config.glyph_classes)[:-1] * number
  sets = [
    from_labels(x, np.repeat(np.arange(len(x) // number), number))
    for x in np.split(drawn.x, ends)
  ]
  name = (config.split_seed, config.glyph_classes, config.glyph_drawings)
  digest = hashlib.sha256(f"glyphs-1 {name}".encode()).hexdigest()
  return Splits(*sets, name="glyphs", digest=digest)


def _npz(config: DataConfig) -> Splits:
  path = files.as_path(config.path)
  if not config.path or not path.exists():
    raise MissingError(
      f"config.data.path is {config.path!r}, where there is no file: give an .npz with "
      "--data PATH"
    )
  content = _read_archive(path)
  images, labels = _checked(content, str(path))
  split = content.get("class_split")
  classes = int(labels.max()) + 1
  if split is None:
    split = _random_split(classes, config.split_seed)
    CONSOLE.print(
      f"{path.name} has no class_split: {_counts(split)} classes for "
      f"train/val/test, by split_seed {config.split_seed}"
    )
  elif split.shape != (classes,) or not np.isin(split, (0, 1, 2)).all():
    raise InputError(f"class_split in {path} must hold 0, 1 or 2 for {classes} classes")
  sets = []
  for s, name in enumerate(SPLITS):
    kept = np.flatnonzero(split[labels] == s)
    if not len(kept):
      raise InputError(f"class_split in {path} leaves no class for {name}")
    dense = np.unique(labels[kept], return_inverse=True)[1]
    sets.append(from_labels(images[kept], dense))
  digest = hashlib.sha256(images.tobytes() + labels.tobytes() + split.tobytes())
  return Splits(*sets, name=path.stem, digest=digest.hexdigest())


def _read_archive(path: files.Path) -> dict[str, np.ndarray]:
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


def _random_split(classes: int, seed: int) -> np.ndarray:
  order = np.random.default_rng(seed).permutation(classes)
  bounds = np.round(np.cumsum(_SHARES)[:-1] * classes).astype(int)
  split = np.empty(classes, np.int64)
  for s, part in enumerate(np.split(order, bounds)):
    split[part] = s
  return split


def _counts(split: np.ndarray) -> str:
  return "/".join(str(n) for n in np.bincount(split, minlength=3))
