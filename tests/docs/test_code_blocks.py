"""Every code block of the README and of docs/ runs, in the order of the page.

Python blocks of a page share their names, and all blocks a folder. Commands run as they
are written, except that trainings are made small; installing is left to the build.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mcdi_jax

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALLS = ("pip install", "git clone")  # .ci/run does it with the README's own command

SMALL = [
  "--config.backbone.steps=4",
  "--config.backbone.width=8",
  "--config.preparation.tasks=64",
  "--config.preparation.steps=6",
  "--config.meta.steps=4",
  "--config.meta.tasks=2",
  "--config.meta.validation_tasks=20",
  "--config.evaluation.tasks=20",
  "--config.evaluation.tuning_tasks=10",
  "--config.evaluation.finetune_trials=1",
  "--config.evaluation.latency=False",
]
QUICK = {
  **os.environ,
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "compiled"),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}


def _blocks(page: Path) -> list[tuple[str, str]]:
  return BLOCK.findall(page.read_text())


def _run(block: str, folder: Path) -> None:
  for line in block.replace("\\\n", " ").splitlines():
    if not line.strip() or any(words in line for words in INSTALLS):
      continue
    arguments = shlex.split(line, comments=True)
    assert arguments[:2] == ["python", "-m"], f"not a command of ours: {line}"
    small = SMALL if arguments[2] == "launch.run" else []
    command = [sys.executable, *arguments[1:], *small]
    made = subprocess.run(command, cwd=folder, env=QUICK, capture_output=True, text=True)
    assert made.returncode == 0, f"{line}\n{made.stdout}\n{made.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  names: dict[str, object] = {"__name__": page.stem}
  for language, block in _blocks(page):
    assert language in ("python", "bash"), f"{page.name} has a block of {language}"
    if language == "bash":
      _run(block, tmp_path)
    else:
      exec(compile(block, page.name, "exec"), names)


def test_the_api_page_has_every_public_name():
  text = (ROOT / "docs" / "api.md").read_text()
  missing = [name for name in mcdi_jax.__all__ if name not in text]
  assert not missing


def test_links_between_pages_lead_somewhere():
  for page in PAGES:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
      assert (page.parent / target).exists(), f"{page.name} links to {target}"
