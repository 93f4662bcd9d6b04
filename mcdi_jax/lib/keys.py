"""Keys of a run: seed → purpose → what is counted there."""

import zlib
from typing import Any

import jax
from jaxtyping import Array, Key


def key_for(seed: int, purpose: str) -> Key[Array, ""]:
  """A key of its own for each purpose: `split(key, n)[i]` is `fold_in(key, i)`, so one
  root for two purposes would give some of their draws the same key."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def key_of_pass(key: Key[Array, ""], n: Any) -> Key[Array, ""]:
  """Of the n-th time, from 1, that is generated after the first with `key`, which that
  splits in two: 0 and 1 are taken."""
  return jax.random.fold_in(key, 1 + n)
