"""Settings of every test.

Nearly all the time goes into compilation, so there is less of it (no optimisation) and
none twice: a cache beside pytest's own is kept between runs.
"""

from pathlib import Path

import jax
import pytest

_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "compiled"

jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)
