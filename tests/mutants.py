"""Faults of one line, of the sort that a tired expert would make: do the tests notice?

  python tests/mutants.py                  # all of them: about half an hour on two cores
  python tests/mutants.py --only NAME …    # these
  python tests/mutants.py --list

No part of the suite. Each fault is put into a copy of the tree, and the tests that should
fail run there; they must pass without it, which is looked at first (not with --trust).
`killed`: they fail; `alive`: they do not, so either the fault changes nothing or a test is
missing; `stale`: the line is not there once, or the tests fail anyway: mend the table.
"""

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutant_table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("mcdi_jax", "launch", "configs", "tests", "results")
PARTS += ("README.md", "setup.cfg", "pyproject.toml")
COMPILED = ROOT / ".pytest_cache" / "compiled"  # shared with the suite: conftest.py


def copied(place: Path) -> None:
  """The tree, with the suite's cache of compilations."""
  for part in PARTS:
    source, target = ROOT / part, place / part
    if source.is_dir():
      shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
      shutil.copy(source, target)
  COMPILED.mkdir(parents=True, exist_ok=True)
  (place / ".pytest_cache").mkdir()
  (place / ".pytest_cache" / "compiled").symlink_to(COMPILED)


def tested(tests: tuple[str, ...], file: str = "", text: str = "") -> tuple[int, str]:
  """Runs the tests in a copy of the tree in which `file` holds `text`; pytest's exit code,
  and what it says."""
  with tempfile.TemporaryDirectory() as place:
    copied(Path(place))
    if file:
      (Path(place) / file).write_text(text)
    options = ("-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider")
    ran = subprocess.run(
      [sys.executable, "-m", "pytest", *options, *tests],
      cwd=place,
      env={**os.environ, "PYTHONPATH": place},
      capture_output=True,
      text=True,
    )
  lines = ran.stdout.strip().splitlines() or ["no answer"]
  failed = (line for line in lines if line.startswith(("FAILED", "ERROR")))
  return ran.returncode, next(failed, lines[-1])


@functools.cache
def pass_as_it_is(tests: tuple[str, ...]) -> bool:
  return tested(tests)[0] == 0


def outcome(mutant: Mutant, trust: bool) -> tuple[str, str]:
  """`killed`, `alive` or `stale`, and what pytest says of it."""
  text = (ROOT / mutant.file).read_text()
  if (number := text.count(mutant.old)) != 1:
    return "stale", f"the line is there {number} times"
  if not (trust or pass_as_it_is(mutant.tests)):
    return "stale", "its tests fail without it"
  code, said = tested(mutant.tests, mutant.file, text.replace(mutant.old, mutant.new))
  return {0: "alive", 1: "killed", 2: "killed"}.get(code, "stale"), said


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
  parser.add_argument("--list", action="store_true")
  parser.add_argument("--trust", action="store_true")
  parser.add_argument("--jobs", type=int, default=1)
  settings = parser.parse_args()
  known = {mutant.name: mutant for mutant in MUTANTS}
  if len(known) < len(MUTANTS):
    parser.error("a name is there twice")
  if unknown := [name for name in settings.only if name not in known]:
    parser.error(f"there is no mutant {', '.join(unknown)}: --list names them")
  chosen = [known[name] for name in settings.only] or MUTANTS
  if settings.list:
    for mutant in chosen:
      print(f"{mutant.name}\n  {mutant.file}: {' '.join(mutant.tests)}")
    return
  tally: Counter[str] = Counter()
  with ThreadPoolExecutor(settings.jobs) as pool:
    outcomes = pool.map(lambda mutant: outcome(mutant, settings.trust), chosen)
    for mutant, (found, said) in zip(chosen, outcomes, strict=True):
      tally[found] += 1
      print(f"{found:7} {mutant.name}: {said[:100]}", flush=True)
  print(", ".join(f"{number} {found}" for found, number in tally.most_common()))
  sys.exit(bool(tally["alive"] + tally["stale"]))


if __name__ == "__main__":
  main()
