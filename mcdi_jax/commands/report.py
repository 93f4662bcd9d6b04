"""Writes an HTML page on a run, or one that compares several.

  python -m launch.report runs/quickstart
  python -m launch.report runs/a runs/b --out comparison.html

One workdir: its report.html is written (again). Several: one page on all of them.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.lib import outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.report import write_comparison, write_report

_OUT = flags.DEFINE_string(
  "out", None, "The page of a comparison; comparison.html if it is not given."
)


@command
def main(argv: list[str]) -> None:
  workdirs = argv[1:]
  if not workdirs:
    raise InputError("no workdir is given: name one that launch.run wrote, or several")
  if len(workdirs) > 1:
    page = outputs.checked(_OUT.value or "comparison.html", "--out")
    print(write_comparison(workdirs, page))
  elif _OUT.value:
    raise InputError(f"--out is {_OUT.value!r}: it is meant for several workdirs")
  else:
    print(write_report(workdirs[0]))
