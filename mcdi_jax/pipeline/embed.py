"""A set of images as features, in an `.npz` that every command takes as data."""

import hashlib
import io
from typing import Any, Literal

import jax
import numpy as np

from mcdi_jax.data.load import DataConfig, load_raw
from mcdi_jax.encoders import ENCODERS, Encoder, features_of
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE, Bar

_SHARD = 2048  # images between two writes
_BATCH = 32  # images at a time, which stay in a CPU's caches


def embed_images(
  data: DataConfig,
  out: PathLike,
  *,
  encoder: str,
  weights: PathLike,
  size: int = 0,
  dtype: Literal["float32", "float16"] = "float32",
) -> tuple[int, int]:
  """Writes `features` [n, D] with the labels, classes, class_split and domain of the set;
  one that was interrupted goes on.

  Args:
    encoder: its kind, of `ENCODERS`.
    weights: the file or folder that its weights are in.
    size: pixels a side that images are resized to; 0: the encoder's own.
    dtype: that features are kept in.

  Returns:
    n and D.

  Raises:
    InputError: no such encoder, weights of another network, features as data.
  """
  if encoder not in ENCODERS:
    raise InputError(f"--encoder is {encoder!r}: it must be one of {sorted(ENCODERS)}")
  if not str(out).endswith(".npz"):
    raise InputError(f"--out is {str(out)!r}: name a file that ends with .npz")
  out = outputs.checked(out, "--out")
  kind = ENCODERS[encoder]
  params = kind.read(weights)
  raw = load_raw(data)
  if raw.of_features:
    raise InputError(f"{raw.name} holds features already: give images with --data")
  size = size or kind.size
  digest = content_hash({"encoder": encoder, "size": size, "weights": _digest(params)})
  parts = out.parent / f".{out.name}.parts"
  x = _embedded(kind, params, raw.images, size, parts, digest)
  named = {
    "features": x.astype(dtype),
    "labels": raw.labels,
    "classes": np.asarray(raw.classes),
    "encoder": np.asarray(f"{encoder}@{size}-{digest[:12]}"),
  }
  named |= {} if raw.split is None else {"class_split": np.asarray(raw.split)}
  named |= {} if raw.domain is None else {"domain": raw.domain}
  stream = io.BytesIO()
  np.savez(stream, **named)
  files.write_bytes(out, stream.getvalue())
  if parts.exists():
    parts.rmtree()
  return x.shape


def _embedded(
  kind: Encoder, params: Any, images: np.ndarray, size: int, parts: Path, digest: str
) -> np.ndarray:
  """[n, D], shard by shard; those of the same content that are there already are read."""

  @jax.jit
  def embedded(params: Any, x: Any) -> Any:
    batches = x.reshape(-1, _BATCH, *x.shape[1:])
    features = jax.lax.map(lambda x: features_of(kind, params, x, size), batches)
    return features.reshape(len(x), -1)

  found, read = [], 0
  with Bar("images", len(images)) as bar:
    for start in range(0, len(images), _SHARD):
      x = images[start : start + _SHARD]
      content = hashlib.sha256(digest.encode() + x.tobytes()).hexdigest()[:32]
      place = parts / f"{start:09d}-{content}.safetensors"
      if files.is_finished(place):
        features = files.read_checked_arrays(place)["x"]
        read += len(x)
      else:
        filled = np.resize(x, (-(-len(x) // _BATCH) * _BATCH, *x.shape[1:]))
        features = np.asarray(embedded(params, filled))[: len(x)]
        files.write_checked_arrays(place, {"x": features})
      found.append(features)
      bar.update(start + len(x))
  if read:
    CONSOLE.print(f"{read} of {len(images)} images had been embedded before")
  return np.concatenate(found)


def _digest(params: Any) -> str:
  content = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()
