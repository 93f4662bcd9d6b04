import itertools

import jax
import numpy as np

from mcdi_jax.lib.keys import key_for, key_of_pass


def test_each_seed_and_purpose_has_a_key_of_its_own():
  """Also purposes of the same letters, and of the same length; nor is one of them among
  the keys that another is split into."""
  purposes = ("bank", "knab", "warps", "backbone", "validation", "training of k1")
  pairs = itertools.product((0, 5, 6), purposes)
  keys = [key_for(seed, purpose) for seed, purpose in pairs]
  split = [part for key in keys for part in jax.random.split(key, 16)]
  data = [tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys + split]
  assert len(set(data)) == len(data)


def test_a_key_is_the_same_every_time():
  """Pinned (the CRC of the purpose): artefacts on disk were made with it."""
  data = jax.random.key_data(key_for(5, "bank")).tolist()
  assert (
    data == jax.random.key_data(jax.random.fold_in(jax.random.key(5), 0xD860BF7A)).tolist()
  )


def test_passes_have_keys_that_the_first_has_not():
  """It splits its own in two, and `split(key, n)[i]` is `fold_in(key, i)`."""
  key = jax.random.key(5)
  keys = [*jax.random.split(key), *(key_of_pass(key, n) for n in range(1, 4))]
  assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 5
