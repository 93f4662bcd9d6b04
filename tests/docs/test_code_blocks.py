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

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfds_in_miniature import png, write_tfds

import mcdi_jax
from mcdi_jax.data.tfds import prepare_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OMNIGLOT = ROOT / "mcdi_jax" / "data" / "splits" / "omniglot.tsv"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# .ci/run does what is left out here, with the README's own command.
INSTALLS = ("python3 -m venv", ". ", "pip install", "tfds-env/", "pytest")

SMALL = [
  "--config.backbone.steps=4",
  "--config.backbone.width=8",
  "--config.backbone.ways=4",
  "--config.backbone.drawings=3",
  "--config.backbone.group=6",
  "--config.preparation.tasks=64",
  "--config.preparation.steps=6",
  "--config.meta.steps=4",
  "--config.meta.tasks=2",
  "--config.meta.validation_tasks=20",
  "--config.finishing.steps=2",
  "--config.finishing.queries=2",
  "--config.finishing.tasks=2",
  "--config.evaluation.queries=2",
  "--config.evaluation.tasks=20",
  "--config.evaluation.tuning_tasks=10",
  "--config.evaluation.trials=1",
  "--config.evaluation.generator_rates=(1.0,)",
  "--config.evaluation.latency=False",
]
ONE = "--config.seeds=(0,)"
FEW = "--config.generators=('generated','generated_finished')"  # of those a config has
QUICK = {
  **os.environ,
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "compiled"),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


def _blocks(page: Path) -> list[tuple[str, str]]:
  return BLOCK.findall(page.read_text())


def _run(block: str, folder: Path) -> None:
  lines = block.replace("\\\n", " ").replace("&&", "\n").splitlines()
  for line in map(str.strip, lines):
    if not line or line.startswith(INSTALLS):
      continue
    arguments = shlex.split(line, comments=True)
    assert arguments[:2] == ["python", "-m"], f"not a command of ours: {line}"
    small = SMALL if arguments[2] == "launch.run" else []
    for setting in (ONE, FEW) if small else ():
      if not any(a.startswith(setting.split("=")[0]) for a in arguments):
        small = [*small, setting]
    command = [sys.executable, *arguments[1:], *small]
    made = subprocess.run(
      command,
      cwd=folder,
      env={**QUICK, "HOME": str(folder)},
      capture_output=True,
      text=True,
    )
    assert made.returncode == 0, f"{line}\n{made.stdout}\n{made.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  if "tfds:omniglot" in page.read_text():
    _write_omniglot(tmp_path / "tensorflow_datasets")  # below ~, as `tfds build` would
  names: dict[str, object] = {"__name__": page.stem}
  for language, block in _blocks(page):
    assert language in ("python", "bash"), f"{page.name} has a block of {language}"
    if language == "bash":
      _run(block, tmp_path)
    else:
      exec(compile(block, page.name, "exec"), names)


def _write_omniglot(data_dir: Path) -> None:
  """Some classes of every split under their names, with noise for drawings."""
  rng = np.random.default_rng(0)
  rows = [line.split("\t") for line in OMNIGLOT.read_text().splitlines()[1:]]
  counts = {"train": 18, "val": 6, "test": 6}
  names = [n for s, k in counts.items() for n in [r[1] for r in rows if r[0] == s][:k]]
  examples = [
    {"image": png(rng.integers(0, 2, (105, 105, 3)).astype(np.uint8) * 255), "label": c}
    for c in range(len(names))
    for _ in range(4)
  ]
  features = {
    "image": tfds.features.Image(shape=(105, 105, 3)),
    "label": tfds.features.ClassLabel(names=names),
  }
  write_tfds(data_dir, "omniglot", features, {"train": examples})


def test_the_command_that_prepares_a_tfds_set_is_the_one_that_errors_quote():
  assert prepare_command("omniglot") in (ROOT / "README.md").read_text()


def test_the_api_page_has_every_public_name():
  text = (ROOT / "docs" / "api.md").read_text()
  missing = [name for name in mcdi_jax.__all__ if name not in text]
  assert not missing


def test_links_between_pages_lead_somewhere():
  for page in PAGES:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
      assert (page.parent / target).exists(), f"{page.name} links to {target}"
