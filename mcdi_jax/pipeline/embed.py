"""Images as features, by a frozen encoder: of a set, or of a user's own files."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from mcdi_jax.data.distortions import with_distortions
from mcdi_jax.data.folder import read_folder
from mcdi_jax.data.load import DataConfig, load_raw
from mcdi_jax.data.npz import read_features
from mcdi_jax.encoders import ENCODERS, Encoder, features_of, square
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE, Bar

_SHARD = 2048  # images between two writes
_BATCH = 32  # images at a time, which stay in a CPU's caches


class Embedding(NamedTuple):
  """An encoder that is ready.

  Attributes:
    encoder: with its weights.
    size: pixels a side that images are resized to.
    name: kind, size and a hash of the weights: what must be the same for features to be
      compared.
  """

  encoder: Encoder
  size: int
  name: str


def open_encoder(kind: str, weights: PathLike, size: int = 0) -> Embedding:
  """Reads an encoder's weights.

  Args:
    kind: a name of `ENCODERS`.
    weights: the file or folder that they are in.
    size: pixels a side that images are resized to; 0: the encoder's own.

  Raises:
    InputError: no such kind, weights of another network, or too few pixels.
  """
  if kind not in ENCODERS:
    raise InputError(f"--encoder is {kind!r}: it must be one of {sorted(ENCODERS)}")
  encoder = ENCODERS[kind](weights)
  size = size or encoder.size
  try:
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    width = jax.eval_shape(encoder.apply, encoder.params, image).shape[-1]
  except InputError:
    raise
  except (TypeError, ValueError, ZeroDivisionError):
    raise InputError(f"--encoder_size is {size}: {kind} cannot see so few pixels") from None
  content = hashlib.sha256(repr((encoder.form, width)).encode())
  for leaf in jax.tree.leaves(encoder.params):
    content.update(np.asarray(leaf).tobytes())
  return Embedding(encoder, size, f"{kind}@{size}-{content.hexdigest()[:12]}")


def embed_set(
  data: DataConfig,
  out: PathLike,
  embedding: Embedding,
  dtype: Literal["float32", "float16"] = "float32",
  distortions: Sequence[str] = (),
  per_class: int = 50,
  *,
  domains: bool = False,
) -> tuple[int, int]:
  """Writes `features` [n, D] with the labels, classes, class_split and domain of a set; one
  that was interrupted goes on.

  Args:
    dtype: that features are kept in.
    distortions: names of `DISTORTIONS`; each is a further domain, of the classes that are
      not for test.
    per_class: images of each class that are distorted, in each way.
    domains: whether the folders in a folder are domains, as `read_folder` has it.

  Returns:
    n and D.

  Raises:
    InputError: features as data, or distortions of a set that has domains.
  """
  if not str(out).endswith(".npz"):
    raise InputError(f"--out is {str(out)!r}: name a file that ends with .npz")
  out = outputs.checked(out, "--out")
  _check_out(out, data)
  encoder, size = embedding.encoder, embedding.size
  form = lambda image: square(image, size, encoder.kernel)  # noqa: E731
  folder = data.source == "folder"  # of images of any size
  if domains and not folder:
    raise InputError("--domains is for folders: a file says itself which domains it has")
  raw = read_folder(data.path, form, domains=domains) if folder else load_raw(data)
  if raw.of_features:
    raise InputError(f"{raw.name} holds features already: give images with --data")
  if distortions:
    raw = with_distortions(raw, distortions, per_class, setting="--distort")
  parts = out.parent / f".{out.name}.parts"
  x = _embedded(embedding, raw.images, parts)
  named = {
    "features": x.astype(dtype),
    "labels": raw.labels,
    "classes": np.asarray(raw.classes),
    "encoder": np.asarray(embedding.name),
  }
  named |= {} if raw.split is None else {"class_split": np.asarray(raw.split)}
  named |= {} if raw.domain is None else {"domain": raw.domain}
  stream = io.BytesIO()
  np.savez(stream, **named)
  files.write_bytes(out, stream.getvalue())
  if parts.exists():
    parts.rmtree()
  return x.shape


def _check_out(out: Path, data: DataConfig) -> None:
  """Nothing but features is replaced."""
  if not out.exists():
    return
  try:
    read_features(str(out), setting="--out")
  except InputError:
    raise InputError(f"--out {out} is a file of another kind: name a new one") from None
  if data.source == "npz" and out == files.as_path(data.path):
    raise InputError(f"--out {out} is the set that --data names: name a new file")


def embed_images(embedding: Embedding, images: Sequence[np.ndarray]) -> np.ndarray:
  """float32 [n, D] of images uint8 [h, w, c] of any sizes."""
  kernel, size = embedding.encoder.kernel, embedding.size
  return _Compiled(embedding)(np.stack([square(x, size, kernel) for x in images]))


class _Compiled:
  """`apply(images uint8 [n, h, w, c]) → float32 [n, D]`, in batches of one shape."""

  def __init__(self, embedding: Embedding):
    self._embedding, encoder = embedding, embedding.encoder

    @jax.jit
    def apply(params: Any, x: Any) -> Any:
      with jax.default_matmul_precision("highest"):  # features are the same everywhere
        return features_of(encoder, params, x)

    self._apply = apply

  def __call__(self, images: np.ndarray) -> np.ndarray:
    (encoder, size, _), found = self._embedding, []
    for start in range(0, len(images), _BATCH):
      some = [square(x, size, encoder.kernel) for x in images[start : start + _BATCH]]
      filled = np.resize(np.stack(some), (_BATCH, size, size, 3))
      found.append(np.asarray(self._apply(encoder.params, filled))[: len(some)])
    return np.concatenate(found)


def _embedded(embedding: Embedding, images: np.ndarray, parts: Path) -> np.ndarray:
  """[n, D], shard by shard; those of the same content that are there already are read."""
  found, read = [], 0
  apply = _Compiled(embedding)
  with Bar("images", len(images)) as bar:
    for start in range(0, len(images), _SHARD):
      x = images[start : start + _SHARD]
      content = hashlib.sha256(embedding.name.encode() + x.tobytes()).hexdigest()[:32]
      place = parts / f"{start:09d}-{content}.safetensors"
      if files.is_finished(place):
        features = files.read_checked_arrays(place)["x"]
        read += len(x)
      else:
        features = apply(x)
        files.write_checked_arrays(place, {"x": features})
      found.append(features)
      bar.update(start + len(x))
  if read:
    CONSOLE.print(f"{read} of {len(images)} images had been embedded before")
  return np.concatenate(found)
