"""Settings of every test.

Nearly all the time goes into compilation, so there is less of it (no optimisation; fused
operations by the older of XLA's emitters, which compiles three times as fast; not in parts,
as each core has tests of its own) and none twice: a cache beside pytest's own is kept
between runs.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest
from threadpoolctl import threadpool_limits

_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
_MOST_BYTES = 6 * 2**30  # of a worker

if jax.__version_info__ < (0, 11):  # later ones have one emitter, and end at unknown flags
  # Read when the first device is asked for; processes that tests start inherit it.
  flags = (
    os.environ.get("XLA_FLAGS", ""),
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
  )
  os.environ["XLA_FLAGS"] = " ".join(flags)

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share a GPU

threadpool_limits(1, user_api="blas")  # as in commands, whose main is not run here
jax.config.update("jax_default_matmul_precision", "highest")
if jax.default_backend() == "cpu":  # a GPU's convolutions cannot be compiled without them
  jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


_LOWERED: Counter[str] = Counter()


def _count(event: str, _: float, **details) -> None:
  if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
    _LOWERED[details["fun_name"]] += 1


jax.monitoring.register_event_duration_secs_listener(_count)


@pytest.fixture
def programs() -> Callable[[str], int]:
  """How many programs of a jitted function, by its name, this test has made so far.

  Those that a jitted function still holds are no such count: `jax` shares one room for all
  and may drop any of them.
  """
  before = _LOWERED.copy()
  return lambda name: _LOWERED[f"jit({name})"] - before[f"jit({name})"]


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def room_for_programs() -> Iterator[None]:
  """Each compiled program takes memory, and places of the process's memory map."""
  yield
  from mcdi_jax.lib.programs import make_room  # not before its types are checked

  make_room(most_bytes=_MOST_BYTES)
