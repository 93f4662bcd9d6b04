"""Strictness for every test, and the miniatures that many of them share."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "allow")
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)
