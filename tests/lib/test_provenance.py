"""Commits of the package's own checkout only; the device that is used."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from mcdi_jax.lib import provenance

ROOT = Path(provenance.__file__).resolve().parents[2]


def _git(place: Path, *arguments: str) -> str:
  who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
  command = ["git", "-C", str(place), *who, *arguments]
  return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _commit(package: Path) -> str:
  code = "from mcdi_jax.lib import provenance; print(provenance.commit())"
  command = [sys.executable, "-c", code]
  env = {"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin:/usr/local/bin"}
  found = subprocess.run(
    command, cwd=package, env=env, capture_output=True, text=True, check=True
  )
  return found.stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
  """The part of the package that is asked, within a project's repository."""
  project = tmp_path / "project"
  lib = project / "mcdi_jax" / "lib"
  lib.mkdir(parents=True)
  (project / "mcdi_jax" / "__init__.py").touch()
  shutil.copy(ROOT / "mcdi_jax" / "lib" / "provenance.py", lib)
  shutil.copy(ROOT / "setup.cfg", project)
  _git(tmp_path, "init", "-q", "project")
  _git(project, "add", ".")
  _git(project, "commit", "-q", "-m", "all")
  return project


def test_its_own_checkout_has_a_commit(copy: Path):
  head = _git(copy, "rev-parse", "HEAD")
  assert _commit(copy) == head
  with (copy / "setup.cfg").open("a") as f:
    f.write("\n")
  assert _commit(copy) == head + "+"


def test_a_copy_inside_another_repository_has_none(copy: Path):
  """Below its top (a vendored folder, a virtual environment), at its top beside another
  setup.cfg, or not tracked by it."""
  shutil.copytree(copy / "mcdi_jax", copy / "vendored" / "mcdi_jax")
  shutil.copy(copy / "setup.cfg", copy / "vendored")
  assert _commit(copy / "vendored") == "None"
  (copy / "setup.cfg").write_text("[metadata]\nname = another\n")
  assert _commit(copy) == "None"
  shutil.copy(ROOT / "setup.cfg", copy)
  _git(copy, "rm", "-q", "-r", "--cached", "mcdi_jax")
  assert _commit(copy) == "None"


def test_the_device_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch):
  gpu = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")
  monkeypatch.setattr(jax, "devices", lambda: [gpu] * 8)
  assert provenance.device() == "NVIDIA H100"


def test_the_threads_of_a_cpu_are_counted_everywhere(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.delattr("os.sched_getaffinity", raising=False)
  assert provenance.device().startswith("cpu (")


def test_the_platform_is_that_of_the_device_that_is_chosen(
  monkeypatch: pytest.MonkeyPatch,
):
  """Work that is put on the CPU of a machine with a GPU has the CPU's order."""
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert provenance.platform_used() == "gpu"
  for chosen in ("cpu", jax.devices("cpu")[0]):
    with jax.default_device(chosen):
      assert provenance.platform_used() == "cpu"
