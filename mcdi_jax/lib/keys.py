"""Keys of a run: seed → purpose → what is counted there."""

import zlib

import jax
from jaxtyping import Array, Key


def key_for(seed: int, purpose: str) -> Key[Array, ""]:
  """A key of its own for each purpose: `split(key, n)[i]` is `fold_in(key, i)`, so one
  root for two purposes would give some of their draws the same key."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
