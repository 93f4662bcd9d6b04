"""What a result must say of where it came from."""

import functools
import importlib.metadata
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
  """The checkout's commit, `+` behind it if files differ from it; None outside git."""
  git = ["git", "-C", str(Path(__file__).parent)]
  try:
    run = functools.partial(
      subprocess.run, capture_output=True, text=True, check=True, timeout=10
    )
    head = run([*git, "rev-parse", "HEAD"]).stdout.strip()
    dirty = run([*git, "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return None
  return head + ("+" if dirty else "")


def device() -> str:
  """Kind and count of the devices, such as `TPU v4 x 8` or `cpu (2 threads)`."""
  found = jax.devices()
  if found[0].platform == "cpu":
    import os

    return f"cpu ({len(os.sched_getaffinity(0))} threads, {platform.machine()})"
  return f"{found[0].device_kind} x {len(found)}"
