"""Settings are read and checked without a device: each process is told of a platform that
does not exist, which JAX says as soon as a device is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READS = {
  "defaults": "from mcdi_jax.pipeline import Config; Config()",
  "a mapping": """
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.pipeline import Config
for schedule in ("linear", "linear_auto", "cosine"):
  from_mapping(Config, {"diffusion": {"schedule": schedule, "steps": 30}})
""",
  "a config file": """
import configs.omniglot
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.pipeline import Config
from_mapping(Config, configs.omniglot.get_config().to_dict())
""",
}


def _run(code: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "nonsense", "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize("case", READS)
def test_no_device_is_started(case: str):
  found = _run(READS[case])
  assert found.returncode == 0, found.stderr


def test_a_device_would_have_been_noticed():
  found = _run("import jax.numpy; jax.numpy.zeros(1)")
  assert "nonsense" in found.stderr
