"""Kills a tiny run again and again; whatever is left must continue to what a run that
nobody disturbed makes: banks, features, weights, pictures, results.

  python tests/soak.py --kills 40

First, kills at random moments of every stage: SIGKILL, SIGTERM, SIGINT, and between two
writes, up to three in a row. Then the workdir as a kill at *every* point between two
writes would leave it: copied there during one run, each copy continued. By hand, not by
pytest: on two quiet cores a quarter of a minute a kill or state. The last line says what
came of it; exit code 1 if anything differs.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mcdi_jax import load_generator  # noqa: E402
from mcdi_jax.generator.storage import fingerprint  # noqa: E402
from mcdi_jax.lib import disk  # noqa: E402
from mcdi_jax.lib.config import from_mapping  # noqa: E402
from mcdi_jax.lib.progress import CONSOLE  # noqa: E402
from mcdi_jax.pipeline import Config, run  # noqa: E402

SETTINGS: dict[str, dict[str, Any]] = {
  "data": {"glyph_classes": (12, 8, 8), "glyph_drawings": 6},
  "backbone": {"width": 4, "steps": 5, "ways": 6, "drawings": 3, "group": 6},
  "preparation": {"tasks": 32, "steps": 6, "shard_tasks": 8},
  "diffusion": {"steps": 6, "segments": 2, "schedule": "linear_auto"},
  "score": {"width": 8, "layers": 1, "heads": 2},
  "meta": {
    "steps": 6,
    "tasks": 2,
    "draws": 2,
    "inner_steps": 2,
    "ways": (3,),
    "validate_every": 2,
    "validation_tasks": 10,
    "save_every": 2,
  },
  "finishing": {
    "steps": 4,
    "tasks": 2,
    "queries": 2,
    "validate_every": 2,
    "save_every": 2,
  },
  "evaluation": {
    "tasks": 20,
    "queries": 2,
    "trials": 2,
    "temperatures": (0.0,),
    "tuning_tasks": 10,
    "latency": False,
  },
}
WHOLE = {"generators": ("generated", "generated_finished"), "seeds": (5,)}
PASSING = {"budget_s", "latency_ms", "commit"}
CONFIG = from_mapping(Config, {**SETTINGS, **WHOLE})
STAGE = re.compile(r"^(seed \d+, )?[\w ]+: \d+ s$")


def command(workdir: Path) -> list[str]:
  """As a user would give it."""
  values = {f"{g}.{n}": v for g, group in SETTINGS.items() for n, v in group.items()}
  flags = [f"--config.{name}={value}" for name, value in {**values, **WHOLE}.items()]
  start = ["-u", "-m", "launch.run", "--config=configs/quickstart.py"]
  return [sys.executable, *start, *flags, f"--workdir={workdir}"]


def start(workdir: Path, cache: Path, stop_at_write: int = 0) -> subprocess.Popen[str]:
  env = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_COMPILATION_CACHE_DIR": str(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  if stop_at_write:
    env["MCDI_STOP_AT_WRITE"] = str(stop_at_write)
  return subprocess.Popen(
    command(workdir),
    cwd=ROOT,
    env=env,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def stages(process: subprocess.Popen[str]) -> Iterator[float]:
  """The moment at which each stage ends."""
  for line in process.stdout:
    if STAGE.match(line):
      yield time.monotonic()


def kill_in_stage(
  workdir: Path, cache: Path, stage: int, after: float, number: int
) -> bool:
  """Sends a signal so many seconds after `stage` has begun; whether it came in time."""
  process = start(workdir, cache)
  ends = stages(process)
  for _ in range(stage):
    next(ends, None)
  time.sleep(after)
  in_time = process.poll() is None
  if in_time:
    process.send_signal(number)
  _, err = process.communicate(timeout=120)
  if number != signal.SIGKILL and process.returncode == 128 + number:
    said = err.strip().splitlines()
    if said != ["interrupted: the same command continues"]:
      raise SystemExit(f"signal {number} left {len(said)} lines:\n{err}")
  return in_time


def finish(workdir: Path, cache: Path) -> None:
  process = start(workdir, cache)
  out, err = process.communicate(timeout=600)
  if process.returncode:
    raise SystemExit(f"{workdir} does not continue:\n{out}\n{err}")


def content(workdir: Path) -> dict[str, str]:
  """What must be the same, by name."""
  found = {}
  for path in sorted(workdir.rglob("*.safetensors")):
    name = str(path.relative_to(workdir))
    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
  for path in sorted(workdir.glob("seed_*/**/generator.json")):
    found[str(path.parent.relative_to(workdir))] = fingerprint(load_generator(path.parent))
  lines = [json.loads(line) for line in (workdir / "results.jsonl").open()]
  kept = [{k: v for k, v in x.items() if k not in PASSING} for x in lines]
  for n, line in enumerate(kept):
    for key, value in line.items():
      found[f"results.jsonl, line {n + 1} ({line['method']}), {key}"] = json.dumps(value)
  return found


def compare(workdir: Path, expected: dict[str, str], what: str) -> bool:
  found = content(workdir)
  names = sorted(found.keys() | expected.keys())
  differ = [name for name in names if found.get(name) != expected.get(name)]
  print(f"{what}: {'DIFFERS in ' + ', '.join(differ) if differ else 'identical'}")
  for name in differ:
    print(f"  {expected.get(name)} is now {found.get(name)}")
  return not differ


def random_kills(
  kills: int, place: Path, cache: Path, durations: list[float], expected: Any
) -> tuple[int, int, int]:
  """Kills, runs that took them, and runs that came out otherwise."""
  kinds = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None]  # None: between writes
  done = runs = wrong = 0
  while done < kills:
    workdir, said = place / f"kill-{runs}", []
    for _ in range(random.randint(1, min(3, kills - done))):
      kind = kinds[(done + done // len(durations)) % len(kinds)]
      if kind is None:
        point = random.randint(1, 120)
        process = start(workdir, cache, stop_at_write=point)
        process.communicate(timeout=600)
        hit, what = process.returncode == -signal.SIGKILL, f"write {point}"
      else:
        stage = done % len(durations)
        after = random.uniform(0, durations[stage])
        hit = kill_in_stage(workdir, cache, stage, after, kind)
        what = f"{kind.name} {after:.1f} s into stage {stage}"
      said.append(what if hit else f"({what}: too late)")
      done += hit
    finish(workdir, cache)
    wrong += not compare(workdir, expected, "; ".join(said))
    shutil.rmtree(workdir)
    runs += 1
  return done, runs, wrong


def every_point(place: Path, expected: Any, most: int | None) -> tuple[int, int]:
  """Distinct states between two writes, and those that continued to something else."""
  workdir, states = place / "run", place / "states"
  states.mkdir()
  seen: set[str] = set()

  def copy(_: Any) -> None:
    files = sorted(p for p in workdir.rglob("*") if p.is_file() and p.name != ".lock")
    parts = [str(p.relative_to(workdir)).encode() + p.read_bytes() for p in files]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    if digest not in seen:
      seen.add(digest)
      shutil.copytree(workdir, states / f"{len(seen):04d}")

  CONSOLE.quiet = True
  before, disk.write_point = disk.write_point, copy
  run(CONFIG, workdir)
  disk.write_point = before
  wrong = 0
  found = sorted(states.iterdir())
  chosen = found if most is None else sorted(random.sample(found, min(most, len(found))))
  for state in chosen:
    run(CONFIG, state)
    wrong += not compare(state, expected, f"state {state.name} of {len(seen)}")
    shutil.rmtree(state)
  return len(chosen), wrong


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=40)
  parser.add_argument("--seed", type=int, default=0, help="of the random moments")
  parser.add_argument("--points", type=int, help="at most so many states; default all")
  options = parser.parse_args()
  random.seed(options.seed)
  with tempfile.TemporaryDirectory() as folder:
    place, cache = Path(folder), Path(folder) / "compiled"
    finish(place / "first", cache)  # fills the cache of compilations
    begin = time.monotonic()
    process = start(place / "whole", cache)
    ends = list(stages(process))
    process.communicate()
    durations = [b - a for a, b in zip([begin, *ends], ends, strict=False)]
    expected = content(place / "first")
    ok = compare(place / "whole", expected, f"undisturbed, {len(ends)} stages")
    done, runs, wrong = random_kills(options.kills, place, cache, durations, expected)
    points = others = 0
    if options.points != 0:
      jax.config.update("jax_compilation_cache_dir", str(cache))
      jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
      jax.config.update("jax_disable_most_optimizations", True)
      points, others = every_point(place, expected, options.points)
  print(
    f"soak: {done} kills in {runs} runs, {wrong} of which came out otherwise; "
    f"{points} states between two writes, {others} of which came out otherwise"
  )
  sys.exit(0 if ok and not wrong and not others else 1)


if __name__ == "__main__":
  main()
