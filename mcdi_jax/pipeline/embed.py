"""A set as features, by a frozen encoder."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mcdi_jax.data.distortions import with_distortions
from mcdi_jax.data.folder import read_folder
from mcdi_jax.data.load import DataConfig, load_raw
from mcdi_jax.data.npz import read_features
from mcdi_jax.data.raw import Raw
from mcdi_jax.data.texts import Texts, read_labelled_texts
from mcdi_jax.encoders import square
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE, Bar
from mcdi_jax.pipeline.embedding import Embedder, Embedding

_SHARD = 2048  # items between two writes


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
    distortions: as in `check_distortions`; each is a further domain, of the classes
      that are not for test.
    per_class: images of each class that are distorted, in each way.
    domains: whether the folders in a folder are domains, as `read_folder` has it.

  Returns:
    n and D.

  Raises:
    InputError: features as data, or distortions of a set that has domains.
  """
  out = _checked_out(out)
  _check_out(out, data, embedding)
  check_reads(embedding, data.path, texts=False)
  encoder, size = embedding.encoder, embedding.size
  form = lambda image: square(image, size, encoder.kernel)  # noqa: E731
  if domains and data.source != "folder":
    raise InputError("--domains is for folders: a file says itself which domains it has")
  raw = read_folder(data.path, form, domains=True) if domains else load_raw(data, form)
  if raw.of_features:
    raise InputError(f"{raw.name} holds features already: give images with --data")
  if distortions:
    raw = with_distortions(raw, distortions, per_class, setting="--distort")
  return _write(out, raw, raw.images, embedding, dtype)


def embed_texts(
  path: PathLike,
  out: PathLike,
  embedding: Embedding,
  dtype: Literal["float32", "float16"] = "float32",
) -> tuple[int, int]:
  """The same of a `.jsonl` of labelled texts."""
  check_reads(embedding, path, texts=True)
  out = _checked_out(out)
  _check_out(out, DataConfig(source="npz", path=str(path)), embedding)
  found = read_labelled_texts(path, setting="--data")
  return _write(out, found, found.texts, embedding, dtype)


def check_reads(embedding: Embedding, place: PathLike, *, texts: bool) -> None:
  """Raises `InputError` where an encoder of the one is given the other."""
  if embedding.of_texts != texts:
    kinds = ("texts", "images")
    reads, holds = kinds if embedding.of_texts else kinds[::-1]
    raise InputError(
      f"--encoder reads {reads}, and {place} holds {holds}: name one that reads {holds}"
    )


def _checked_out(out: PathLike) -> Path:
  if not str(out).endswith(".npz"):
    raise InputError(f"--out is {str(out)!r}: name a file that ends with .npz")
  return outputs.checked(out, "--out")


def _write(
  out: Path,
  of: Raw | Texts,
  items: Sequence[Any] | np.ndarray,
  embedding: Embedding,
  dtype: str,
) -> tuple[int, int]:
  parts = out.parent / f".{out.name}.parts"
  x = _embedded(embedding, items, parts)
  _check_features(x, dtype)
  named = {
    "features": x.astype(dtype),
    "labels": of.labels,
    "classes": np.asarray(of.classes),
    "encoder": np.asarray(embedding.name),
  }
  named |= {} if of.split is None else {"class_split": np.asarray(of.split)}
  named |= {} if of.domain is None else {"domain": of.domain}
  stream = io.BytesIO()
  np.savez(stream, **named)
  files.write_bytes(out, stream.getvalue())
  if parts.exists():
    parts.rmtree()
  return x.shape


def _check_features(x: np.ndarray, dtype: str) -> None:
  """What could not be read again is not written."""
  bad = int((~np.isfinite(x).all(1)).sum())
  if bad:
    raise InputError(
      f"the encoder gives NaN or infinite features for {bad} of {len(x)} items: bring its "
      "own weights"
    )
  most, held = float(np.abs(x).max(initial=0)), float(np.finfo(dtype).max)
  if most > held:
    raise InputError(
      f"--dtype is {dtype}, which holds up to {held:.0f}, and features reach {most:.2g}: "
      "use float32"
    )


def _check_out(out: Path, data: DataConfig, embedding: Embedding) -> None:
  """Nothing but features of the same encoder is replaced."""
  if not out.exists():
    return
  try:
    found = read_features(str(out), setting="--out")
  except InputError:
    raise InputError(f"--out {out} is a file of another kind: name a new one") from None
  if found.encoder != embedding.name:
    raise InputError(
      f"--out {out} holds features of {found.encoder or 'another encoder'}, and not of "
      f"{embedding.name}: name a new file"
    )
  if data.source == "npz" and out == files.as_path(data.path):
    raise InputError(f"--out {out} is the set that --data names: name a new file")


def _embedded(
  embedding: Embedding, items: Sequence[Any] | np.ndarray, parts: Path
) -> np.ndarray:
  """[n, D], shard by shard; those of the same content that are there already are read."""
  found, read = [], 0
  apply = Embedder(embedding)
  with Bar("items", len(items)) as bar:
    for start in range(0, len(items), _SHARD):
      x = items[start : start + _SHARD]
      own = x.tobytes() if isinstance(x, np.ndarray) else "\0".join(x).encode()
      content = hashlib.sha256(embedding.name.encode() + own).hexdigest()[:32]
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
    CONSOLE.print(f"{read} of {len(items)} items had been embedded before")
  return np.concatenate(found)
