"""What every source of images, or of features, gives before it is split."""

from typing import NamedTuple

import numpy as np

from mcdi_jax.data.images import (
  are_blank,
  each_border_brightness,
  resize,
  to_colour,
  to_grey,
)
from mcdi_jax.data.names import listed, natural_key
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE

_CLEAR = 64  # of 255: a ground so near to black or white is no photograph's


class Raw(NamedTuple):
  """Labelled images, or features of some.

  Attributes:
    images: uint8 [n, h, w, c]; features float32 [n, D].
    labels: int32 [n] in 0..C−1, every class present.
    classes: C names.
    split: int [C] of 0/1/2 = train/val/test, if the source's authors split the classes.
    name: of the set, for results.
    origins: of the images, to name one: files; empty: their numbers do.
    domain: names [n], such as of photographs and sketches; None: nothing is said.
    encoder: what made the features.
  """

  images: np.ndarray
  labels: np.ndarray
  classes: tuple[str, ...]
  split: np.ndarray | None
  name: str
  origins: tuple[str, ...] = ()
  domain: np.ndarray | None = None
  encoder: str = ""

  @property
  def of_features(self) -> bool:
    return self.images.ndim == 2


def in_form(image: np.ndarray, size: int, grey: bool) -> np.ndarray:
  """One image [h, w, c] (or a batch) in the size and colours that are asked for."""
  if grey:
    image = to_grey(image)
  return resize(image, (size, size)) if size else image


def in_polarity(images: np.ndarray, invert: str, name: str) -> np.ndarray:
  """`auto` inverts dark ink on bright ground, and says so: each image whose ground is
  clearly bright, and where most are bright, also those whose ground is neither."""
  if invert == "auto":
    border = each_border_brightness(images)
    bright = border > (_CLEAR if border.mean() > 127.5 else 255 - _CLEAR)
    if not bright.any():
      return images
    which = "" if bright.all() else f"{bright.sum()} of {len(images)} images: "
    CONSOLE.print(
      f"{name}: {which}dark ink on bright ground, inverted (config.data.invert)",
    )
    where = bright[:, None, None, None]
    return np.subtract(255, images, out=images.copy(), where=where)
  return 255 - images if invert == "always" else images


def say_blank(raw: Raw) -> None:
  """Names the images in which nothing is to be seen, and their classes."""
  blank = np.flatnonzero(are_blank(raw.images))
  if len(blank):
    origin = lambda i: raw.origins[i] if raw.origins else f"number {i}"  # noqa: E731
    named = [f"{origin(i)} of class {raw.classes[raw.labels[i]]!r}" for i in blank]
    CONSOLE.print(
      f"{raw.name}: {len(blank)} of {len(raw.images)} images are all of one value: "
      f"{listed(named)}",
    )


def stacked(images: list[np.ndarray], name: str) -> np.ndarray:
  """Grey images among those in colour become colour.

  Raises:
    InputError: the images do not have one size.
  """
  shapes = sorted({image.shape for image in images})
  if len({shape[:2] for shape in shapes}) > 1:
    raise InputError(
      f"the images of {name} have different sizes ({_size(shapes[0])} and "
      f"{_size(shapes[-1])} among them): set config.data.size, such as "
      "--config.data.size=28"
    )
  if {shape[2] for shape in shapes} == {1, 3}:
    images = [to_colour(image) for image in images]
  return np.stack(images)


def _size(shape: tuple[int, ...]) -> str:
  return f"{shape[0]}×{shape[1]}"


def chosen(raw: Raw, which: np.ndarray) -> Raw:
  """These items (bool [n]) and the classes that they are of."""
  present, labels = np.unique(raw.labels[which], return_inverse=True)
  return raw._replace(
    images=raw.images[which],
    labels=labels.astype(np.int32),
    classes=tuple(raw.classes[c] for c in present),
    split=None if raw.split is None else raw.split[present],
    origins=(),
    domain=None if raw.domain is None else raw.domain[which],
  )


def with_training_domains(raw: Raw, other: Raw) -> Raw:
  """Also the items of another set that has domains, whose classes are for training alone;
  classes and domains are told from those of the first. What has no domains is of one."""
  domain = np.full(len(raw.labels), "as they are") if raw.domain is None else raw.domain
  own = tuple(f"{name} ({other.name})" for name in other.classes)
  return Raw(
    np.concatenate([raw.images, other.images]),
    np.concatenate([raw.labels, other.labels + len(raw.classes)]).astype(np.int32),
    raw.classes + own,
    np.concatenate([raw.split, np.zeros(len(own), raw.split.dtype)]),
    raw.name,
    domain=np.concatenate([domain, [f"{other.name}-{name}" for name in other.domain]]),
  )


def in_canonical_order(raw: Raw) -> Raw:
  """Classes in natural order of their names, images by class, those of a class by their
  bytes: so a set gives the same tasks from whatever source it is read."""
  classes = sorted(range(len(raw.classes)), key=lambda c: natural_key(raw.classes[c]))
  labels = np.argsort(classes).astype(np.int32)[raw.labels]
  flat = np.ascontiguousarray(raw.images.reshape(len(raw.images), -1))
  content = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
  by_content = np.argsort(content, kind="stable")
  order = by_content[np.argsort(labels[by_content], kind="stable")]
  return Raw(
    raw.images[order],
    labels[order],
    tuple(raw.classes[c] for c in classes),
    raw.split if raw.split is None else raw.split[classes],
    raw.name,
    domain=None if raw.domain is None else raw.domain[order],
    encoder=raw.encoder,
  )
