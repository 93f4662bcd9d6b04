import functools
from collections.abc import Callable

import jax
import miniature
import pytest

from mcdi_jax.generator import Generator


@pytest.fixture(scope="session")
def make_generator() -> Callable[..., Generator]:
  """`miniature.make_generator`, each made once."""
  return functools.cache(miniature.make_generator)


@pytest.fixture(scope="session")
def sampled() -> Callable[..., jax.Array]:
  """Tokens from features by class [N, K, D], jitted: one trace for each specification."""

  @jax.jit
  def tokens(generator, shots, initial, temperature):
    condition = generator.condition(miniature.flat(shots), len(shots))
    key = jax.random.key(0)
    settings = {"temperature": temperature, "initial": initial}
    return generator.sample(condition, key, **settings)[0]

  return tokens
