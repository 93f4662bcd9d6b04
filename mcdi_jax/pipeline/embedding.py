"""A frozen encoder that is ready, and what it makes of images or of texts."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mcdi_jax.data.tokenizer import filled
from mcdi_jax.encoders import (
  ENCODERS,
  TEXT_ENCODERS,
  Encoder,
  TextEncoder,
  features_of,
  square,
)
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike

_BATCH = 32  # items at a time, which stay in a CPU's caches
_LENGTH = 16  # tokens; texts are filled up to a multiple of it, so that few shapes compile


class Embedding(NamedTuple):
  """An encoder that is ready.

  Attributes:
    encoder: with its weights.
    size: pixels a side that images are resized to; tokens of a text that are seen.
    name: kind, size and a hash of the weights: what must be the same for features to be
      compared.
  """

  encoder: Encoder | TextEncoder
  size: int
  name: str

  @property
  def of_texts(self) -> bool:
    return isinstance(self.encoder, TextEncoder)


def open_encoder(kind: str, weights: PathLike, size: int = 0) -> Embedding:
  """Reads an encoder's weights.

  Args:
    kind: a name of `ENCODERS` or `TEXT_ENCODERS`.
    weights: the file or folder that they are in.
    size: pixels a side that images are resized to; 0: the encoder's own.

  Raises:
    InputError: no such kind, weights of another network, or too few pixels.
  """
  if kind in TEXT_ENCODERS:
    if size:
      raise InputError(f"--encoder_size is {size}: {kind} reads texts, leave it out")
    reads = _opened(TEXT_ENCODERS[kind], weights)
    content = _content(reads, repr(reads.form).encode() + reads.tokenizer.content)
    return Embedding(reads, reads.tokenizer.most, f"{kind}-{content}")
  if kind not in ENCODERS:
    kinds = sorted((*ENCODERS, *TEXT_ENCODERS))
    raise InputError(f"--encoder is {kind!r}: it must be one of {kinds}")
  encoder = _opened(ENCODERS[kind], weights)
  size = size or encoder.size
  try:
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    width = jax.eval_shape(encoder.apply, encoder.params, image).shape[-1]
  except InputError:
    raise
  except (TypeError, ValueError, ZeroDivisionError):
    raise InputError(f"--encoder_size is {size}: {kind} cannot see so few pixels") from None
  content = _content(encoder, repr((encoder.form, width)).encode())
  return Embedding(encoder, size, f"{kind}@{size}-{content}")


def _opened(opener: Any, weights: PathLike) -> Any:
  """A description beside the weights may hold anything in place of numbers and names."""
  try:
    return opener(weights)
  except InputError:
    raise
  except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
    raise InputError(
      f"what describes the encoder in {weights} is not as it should be ({error}): bring "
      "the files that came with the weights"
    ) from None


def _content(encoder: Encoder | TextEncoder, form: bytes) -> str:
  content = hashlib.sha256(form)
  for leaf in jax.tree.leaves(encoder.params):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()[:12]


class Embedder:
  """`apply(items) → float32 [n, D]` of images uint8 [h, w, c] of any sizes, or of texts, in
  batches of few shapes; an item's features do not depend on what it is embedded with."""

  def __init__(self, embedding: Embedding):
    self._embedding, encoder = embedding, embedding.encoder

    @jax.jit
    def apply(params: Any, *x: Any) -> Any:
      with jax.default_matmul_precision("highest"):  # features are the same everywhere
        if isinstance(encoder, TextEncoder):
          return encoder.apply(params, *x)
        return features_of(encoder, params, *x)

    self._apply = apply

  def __call__(self, items: Sequence[Any] | np.ndarray) -> np.ndarray:
    apply = self._of_texts if self._embedding.of_texts else self._of_images
    return apply(items)

  def _of_images(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    (encoder, size, _), found = self._embedding, []
    for start in range(0, len(images), _BATCH):
      some = [square(x, size, encoder.kernel) for x in images[start : start + _BATCH]]
      full = np.resize(np.stack(some), (_BATCH, size, size, 3))
      found.append(np.asarray(self._apply(encoder.params, full))[: len(some)])
    return np.concatenate(found)

  def _of_texts(self, texts: Sequence[str]) -> np.ndarray:
    """Those of about one length together."""
    encoder = self._embedding.encoder
    rows = encoder.tokenizer(texts)
    blocks = np.array([-(-len(row) // _LENGTH) for row in rows])
    found: dict[int, np.ndarray] = {}
    for block in np.unique(blocks):
      own = np.flatnonzero(blocks == block)
      for start in range(0, len(own), _BATCH):
        some = own[start : start + _BATCH]
        full = filled([rows[n] for n in np.resize(some, _BATCH)], int(block) * _LENGTH)
        found |= zip(some, np.asarray(self._apply(encoder.params, *full)), strict=False)
    return np.stack([found[n] for n in range(len(texts))])
