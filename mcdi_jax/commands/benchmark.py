"""How fast a generator is on this machine.

  python -m launch.benchmark --generator runs/quickstart

Prints the median time to generate the weights of 1 and of 256 tasks, from features (with
the share of the machine's matmul peak that this reaches) and from images; and of
`mcdi_jax.generate` as it is called.
"""

import dataclasses
import math

from absl import flags

from mcdi_jax import load_generator
from mcdi_jax.commands.command import command
from mcdi_jax.evaluation import Facts, latency_line, print_table
from mcdi_jax.families import Heads
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline.timings import benchmark
from mcdi_jax.tasks import Protocol

_GENERATOR = flags.DEFINE_string("generator", None, "A directory that launch.run wrote.")
_RESULTS = flags.DEFINE_string(
  "results", None, "A .jsonl that the lines are appended to, as launch.run writes them."
)
_SECONDS = flags.DEFINE_float(
  "seconds", 10.0, "Of timed calls, all together; medians are printed.", lower_bound=0.0
)
_PRECISION = flags.DEFINE_enum(
  "matmul_precision",
  None,
  ["highest", "high", "default"],
  "Of float32 matmuls; default: the generator's own.",
)
flags.mark_flag_as_required("generator")


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  check(math.isfinite(_SECONDS.value), "--seconds", _SECONDS.value, "give a finite number")
  results = None
  if _RESULTS.value is not None:
    results = outputs.checked(_RESULTS.value, "--results", ours=files.is_json_lines)
  generator = load_generator(_GENERATOR.value)
  form = Protocol(generator.spec.family.ways[0], generator.spec.family.shots[0])
  precision = _PRECISION.value or generator.spec.matmul_precision
  spec = dataclasses.replace(generator.spec, matmul_precision=precision)
  generator = dataclasses.replace(generator, spec=spec)
  backbone = spec.family.architecture.name if isinstance(spec.family, Heads) else None
  facts = Facts(backbone, precision, spec.family)
  found = benchmark(generator, form, seconds=_SECONDS.value)
  lines = [latency_line(facts, form, timing) for timing in found]
  print_table(lines)
  if results is not None:
    files.append_json_lines(results, lines)
