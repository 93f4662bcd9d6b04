"""Time and memory of generating W weights, for W from 10⁴ to 10⁶ and beyond.

  python tests/scaling.py --out scaling.png

By hand, not by pytest. Each size is a process of its own, so that its peak of memory is its
own: the network of configs/million.py with other widths, its score network untrained, a
bank of a few random tasks. Timed are one call of the compiled generator and one REPTILE
step, both after compilation.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs import million  # noqa: E402
from mcdi_jax.diffusion import make_schedule  # noqa: E402
from mcdi_jax.evaluation import measure  # noqa: E402
from mcdi_jax.generator import (  # noqa: E402
  Generator,
  GeneratorSpec,
  generate_from_features,
)
from mcdi_jax.generator.storage import blank  # noqa: E402
from mcdi_jax.lib.config import from_mapping  # noqa: E402
from mcdi_jax.meta import meta_training, task_source  # noqa: E402
from mcdi_jax.pipeline import Config  # noqa: E402
from mcdi_jax.preparation import Bank  # noqa: E402
from mcdi_jax.report.figure import COLOURS  # noqa: E402
from mcdi_jax.tasks import Form  # noqa: E402

KEY, TASKS = jax.random.key(0), 4
HIDDEN = ((12,), (40,), (120,), (256, 256), (640, 400), (1024, 256), (1600, 640))
SECONDS = 5.0  # of timed calls, for each


def measured(hidden: tuple[int, ...]) -> dict[str, Any]:
  """Of one size, in this process."""
  config = from_mapping(Config, million.get_config().to_dict(), "config")
  ways, shots = million.CLASSES, config.meta.shots[0]
  family = million.Million(
    image_shape=(28, 28, 1), hidden=hidden, ways=(ways,), shots=(shots,)
  )
  spec = GeneratorSpec(config.score, config.diffusion, family, base="init")
  schedule = make_schedule(config.diffusion)
  generator = dataclasses.replace(blank(spec, KEY), schedule=schedule)
  support = family.example(Form(ways, shots))
  support = support._replace(x=jax.random.uniform(KEY, support.x.shape))
  adapt = jax.jit(lambda g, s, k: generate_from_features(g, s, k, ways=ways))
  generating = measure(adapt, generator, support, KEY, batch=1, seconds=SECONDS)
  step = measure(_reptile_step(config, generator), batch=1, seconds=SECONDS)
  return {
    "weights": generator.space.weights(ways),
    "tokens": generator.space.rows(ways),
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(generator.score)),
    "generate_ms": generating.median_ms,
    "step_ms": step.median_ms,
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
  }


def _reptile_step(config: Config, generator: Generator) -> Callable[[], Any]:
  """On a bank of θ_0 again and again: the values do not matter."""
  family, targets = generator.family, config.diffusion.segments
  items = jax.tree.map(jnp.asarray, million.get_suite(config).train)
  draw = lambda key: family.draw_task(key, items, family.ways[0])  # noqa: E731
  tasks = jax.vmap(draw)(jax.random.split(KEY, TASKS))
  repeated = lambda leaf: np.tile(leaf, (TASKS, targets) + (1,) * leaf.ndim)  # noqa: E731
  weights = jax.tree.map(repeated, generator.frozen["init"])
  bank = Bank(jax.tree.map(np.asarray, tasks), weights)
  source = task_source(family, [family.largest], [bank], items, KEY)
  training = meta_training(config.meta, "reptile")
  state = training.init(generator.score)

  def step() -> Any:
    batch = training.draw(source, generator, KEY, state.step)
    fresh = jax.tree.map(jnp.copy, state)  # a step takes its state's memory
    return training.step(fresh, generator, batch, KEY)

  return step


def plot(rows: list[dict[str, Any]], out: str) -> None:
  figure = Figure(figsize=(7.2, 3.2), layout="constrained")
  time, memory = figure.subplots(1, 2)
  weights = [row["weights"] for row in rows]
  for name, label, colour in zip(
    ("step_ms", "generate_ms"), ("a REPTILE step", "generating"), COLOURS, strict=False
  ):
    time.loglog(weights, [row[name] for row in rows], "o-", color=colour, label=label)
  time.set(xlabel="generated weights", ylabel="ms")
  time.legend(frameon=False)
  memory.loglog(weights, [row["peak_gib"] for row in rows], "o-", color=COLOURS[0])
  memory.set(xlabel="generated weights", ylabel="peak memory of the process, GiB")
  for axes in (time, memory):
    axes.grid(True, which="both", alpha=0.25)
  figure.savefig(out, dpi=150)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--out", default="scaling.png", help="a picture; lines beside it")
  parser.add_argument("--hidden", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.hidden:
    print(json.dumps(measured(tuple(json.loads(given.hidden)))))
    return
  rows = []
  for hidden in HIDDEN:
    command = [sys.executable, __file__, "--hidden", json.dumps(hidden)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(json.dumps(rows[-1]), flush=True)
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  Path(given.out).with_suffix(".jsonl").write_text(lines)
  plot(rows, given.out)


if __name__ == "__main__":
  main()
