"""What a result must say of where it came from."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@functools.cache
def versions() -> dict[str, str]:
  found = {p: importlib.metadata.version(p) for p in PACKAGES}
  return {"python": platform.python_version(), **found}


@functools.cache
def commit() -> str | None:
  """The checkout's commit, `+` behind it if files differ from it.

  None where the package does not lie in its own checkout: installed, or copied into
  another project, whose commits say nothing of it.
  """
  root = Path(__file__).resolve().parents[2]
  git = ["git", "-C", str(root)]
  try:
    if "name = mcdi-jax\n" not in (root / "setup.cfg").read_text():
      return None
    run = functools.partial(
      subprocess.run, capture_output=True, text=True, check=True, timeout=10
    )
    top = run([*git, "rev-parse", "--show-toplevel"]).stdout.removesuffix("\n")
    if Path(top).resolve() != root:
      return None
    run([*git, "ls-files", "--error-unmatch", "mcdi_jax/lib/provenance.py"])
    head = run([*git, "rev-parse", "HEAD"]).stdout.strip()
    dirty = run([*git, "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return None
  return head + ("+" if dirty else "")


@functools.cache
def code(*others: str | None) -> str:
  """sha256 of the package's Python files as they are now, committed or not, and of others
  by their paths."""
  package = Path(__file__).resolve().parents[1]
  places = [*sorted(package.rglob("*.py")), *(Path(other) for other in others if other)]
  found = hashlib.sha256()
  for place in places:
    found.update(place.read_bytes())
  return found.hexdigest()


def platform_used() -> str:
  """Of the device that is used where none is named: such as `cpu` or `gpu`."""
  chosen = jax.config.jax_default_device  # also of `with jax.default_device(...)`
  if chosen is None:
    return jax.default_backend()
  return chosen if isinstance(chosen, str) else chosen.platform


def device() -> str:
  """Kind of the device that is used, the first: such as `TPU v4` or
  `cpu (2 threads, x86_64)`."""
  used = jax.devices()[0]
  if used.platform != "cpu":
    return used.device_kind
  affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
  threads = len(affinity(0)) if affinity else os.cpu_count()
  return f"cpu ({threads} threads, {platform.machine()})"
