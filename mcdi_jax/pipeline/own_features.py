"""A user's features, or images or texts to embed, for a generator of heads on features."""

from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.data.folder import support_folders
from mcdi_jax.data.image_files import read_images, unreadable
from mcdi_jax.data.names import natural_key, printable
from mcdi_jax.data.npz import read_features
from mcdi_jax.data.raw import Raw
from mcdi_jax.data.texts import are_texts, read_labelled_texts, read_texts
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.pipeline.embed import check_reads
from mcdi_jax.pipeline.embedding import Embedder, Embedding, open_encoder
from mcdi_jax.pipeline.own_images import image_files


class EncoderFlags(NamedTuple):
  """What says how images or texts become features; `weights` empty: they are none."""

  kind: str = ""
  weights: str = ""
  size: int = 0

  def opened(self, place: PathLike) -> Embedding:
    """Raises `InputError` where none is given, or half of one, or one for other items than
    there are at the place."""
    texts = are_texts(place)
    if bool(self.kind) != bool(self.weights):
      raise InputError("--encoder and --encoder_weights belong together: give both")
    if not self.weights:
      raise InputError(
        f"{place} holds {'texts' if texts else 'images'}, and this generator takes "
        "features: name --encoder and --encoder_weights, or give an .npz that launch.embed "
        "wrote"
      )
    embedding = open_encoder(self.kind, self.weights, self.size)
    check_reads(embedding, place, texts=texts)
    return embedding

  def check_unused(self, place: PathLike) -> None:
    """Raises `InputError` where features that are there already would be embedded."""
    if _is_archive(place) and (self.kind or self.weights):
      raise InputError(f"{place} holds features already: leave --encoder out")


NO_ENCODER = EncoderFlags()


class FeatureItems(NamedTuple):
  """x: float32 [n, D]. names: n. encoder: that made them. unreadable: a sentence on the
  files that could not be read; None: all were."""

  x: np.ndarray
  names: list[str]
  encoder: str
  unreadable: str | None = None


def read_feature_support(
  path: PathLike, encoder: EncoderFlags, shots: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
  """Features float32 [n, D], labels int32 [n], the N class names in natural order, and the
  encoder's name, of an `.npz` of features, a `.jsonl` of texts or a folder of folders of
  images.

  Args:
    shots: takes the first so many items of each class. None: all.

  Raises:
    InputError: one class; images without an encoder.
    DamagedError: files that cannot be read, all of them named.
  """
  encoder.check_unused(path)
  raw = _raw(path, encoder)
  if len(raw.classes) < 2:
    raise InputError(
      f"{path} has the class {raw.classes[0]!r} alone: at least two classes are needed"
    )
  order = sorted(range(len(raw.classes)), key=lambda c: natural_key(raw.classes[c]))
  places = [np.flatnonzero(raw.labels == c)[:shots] for c in order]
  labels = np.repeat(np.arange(len(order), dtype=np.int32), [*map(len, places)])
  classes = tuple(raw.classes[c] for c in order)
  return raw.images[np.concatenate(places)], labels, classes, raw.encoder


def _raw(path: PathLike, encoder: EncoderFlags) -> Raw:
  if _is_archive(path):
    return read_features(str(path), setting="--support")
  embedding = encoder.opened(path)
  if are_texts(path):
    given = read_labelled_texts(path, setting="--support")
    x, known = Embedder(embedding)(given.texts), (given.labels, given.classes)
    return Raw(x, *known, None, given.name, encoder=embedding.name)
  found = support_folders(files.as_path(path))
  read = read_images([p for paths in found.values() for p in paths])
  if read.bad:
    raise unreadable(read.bad)
  labels = np.repeat(np.arange(len(found), dtype=np.int32), [*map(len, found.values())])
  x = Embedder(embedding)(read.images)
  return Raw(x, labels, tuple(found), None, str(path), encoder=embedding.name)


def read_feature_items(
  path: PathLike, encoder: EncoderFlags, *, setting: str = "--images"
) -> FeatureItems:
  """What there is to label: an `.npz` with `features`, texts, which are their own names, or
  image files.

  Args:
    setting: where the path was given, for errors.
  """
  files.given(path, setting)
  if _is_archive(path):
    raw = read_features(str(path), setting=setting, labelled=False)
    return FeatureItems(raw.images, [str(n) for n in range(len(raw.images))], raw.encoder)
  if are_texts(path):
    texts = read_texts(path, setting=setting)
    embedding = encoder.opened(path)
    return FeatureItems(Embedder(embedding)(texts), [*texts], embedding.name)
  paths = image_files(path)
  embedding = encoder.opened(path)
  read = read_images(paths)
  if not read.images:
    raise unreadable(read.bad)
  root = files.as_path(path)
  names = [str(p.relative_to(root)) if p != root else p.name for p in read.paths]
  bad: Any = str(unreadable(read.bad)) if read.bad else None
  x = Embedder(embedding)(read.images)
  return FeatureItems(x, [*map(printable, names)], embedding.name, bad)


def _is_archive(path: PathLike) -> bool:
  return str(path).endswith(".npz") and not files.as_path(path).is_dir()
