"""What an install holds: commands that need neither `launch` nor `configs`, which a user's
project may have of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
ROOT = Path(__file__).resolve().parents[2]
CALL = """
import sys
from importlib.metadata import entry_points
(entry,) = entry_points(group="console_scripts", name=sys.argv[1])
sys.argv[:2] = ["/usr/bin/" + sys.argv[1]]
sys.exit(entry.load()())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A user's project with `launch` and `configs` of its own, and the package as it is
  installed in `site/`."""
  source = tmp_path_factory.mktemp("source")
  for name in ("mcdi_jax", "launch", "configs"):
    shutil.copytree(
      ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
    )
  for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  place = tmp_path_factory.mktemp("project")
  site = str(place / "site")
  (place / "site").mkdir()
  steps = ["build", "--build-lib", site, "egg_info", "--egg-base", site]
  built = subprocess.run(
    [sys.executable, "setup.py", *steps], cwd=source, capture_output=True, text=True
  )
  assert built.returncode == 0, built.stderr
  for name in ("launch", "configs"):
    (place / name).mkdir()
    (place / name / "__init__.py").write_text("raise ImportError('not for mcdi')")
  return place


def _call(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-c", CALL, *arguments],
    cwd=project,
    env={**os.environ, "PYTHONPATH": str(project / "site")},
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize("name", ["run", "data"])
def test_a_command_says_its_own_help(project: Path, name: str):
  found = _call(project, f"mcdi-{name}", "--help")
  assert f"python -m launch.{name} --" in found.stdout, found.stderr
  assert "\n  --data:" in found.stdout
  assert "Traceback" not in found.stderr


def test_the_shipped_configs_are_found(project: Path):
  """By name where the project's own folder lacks it; the settings are read, and what is
  wrong with them is said, before any work."""
  found = _call(
    project,
    "mcdi-run",
    "--config=configs/quickstart.py",
    "--config.meta.steps=0",
    "--workdir=w",
  )
  assert found.stderr == "error: config.meta.steps is 0: give at least 1\n"
  found = _call(project, "mcdi-data", "--data=nothing")
  assert found.stderr.startswith("error: --data 'nothing' is no folder")


def test_everything_is_installed(project: Path):
  """Every module and every file of data of the checkout."""
  site = project / "site"
  files = [p for p in (ROOT / "mcdi_jax").rglob("*") if p.is_file()]
  expected = {p.relative_to(ROOT) for p in files if "__pycache__" not in p.parts}
  expected |= {Path("mcdi_jax/configs") / p.name for p in (ROOT / "configs").glob("*.py")}
  missing = [p for p in expected if not (site / p).exists()]
  assert not missing
  assert not (site / "configs").exists()
