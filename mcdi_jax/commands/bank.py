"""What is in a bank, or a bank from checkpoints that exist already.

  python -m launch.bank --show runs/quickstart/bank/0123456789abcdef
  python -m launch.bank --import my_checkpoints/ --out my_bank

A folder to import has for each task a .safetensors file or an Orbax folder, or a folder of
those: its local targets, in the order of their names. --tasks names a JSON file of {name:
task}, a task being what the family draws; without it tasks are numbered in the order of
names. A run uses the bank with --config.imported_bank=my_bank.
"""

from absl import flags
from rich.table import Table
from rich.text import Text

from mcdi_jax.commands.command import command
from mcdi_jax.data.names import listed, printable
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.preparation import BankFacts, bank_facts, import_bank
from mcdi_jax.report.bank import bank_picture
from mcdi_jax.report.figure import is_figure

_SHOW = flags.DEFINE_string("show", None, "A bank's folder, the one with manifest.json.")
_IMPORT = flags.DEFINE_string("import", None, "A folder of checkpoints; no pickles.")
_OUT = flags.DEFINE_string("out", None, "The new folder that --import writes.")
_TASKS = flags.DEFINE_string("tasks", None, "A JSON file of {name: task} for --import.")
_PICTURE = flags.DEFINE_string("picture", "bank.png", "The picture that --show writes.")


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1 or (_SHOW.value is None) == (_IMPORT.value is None):
    raise InputError("give either --show BANK or --import FOLDER --out BANK")
  if _SHOW.value is not None:
    _show(_SHOW.value)
  else:
    _import(_IMPORT.value)


def _import(source: str) -> None:
  if _OUT.value is None:
    raise InputError("--out is not given: name the new folder of the bank")
  out = outputs.checked(_OUT.value, "--out", folder=True, outside=source)
  if out.exists():
    raise InputError(f"--out {out} is there already: name a new folder")
  tasks = files.read_json(files.as_path(_TASKS.value)) if _TASKS.value else None
  found = import_bank(files.as_path(source), out, tasks)
  CONSOLE.print(f"{len(found.names)} tasks, {found.targets} targets each: {out}")
  for said, names in (
    ("leaves that are not of floats are left out", found.left_out),
    ("leaves that are the same in all checkpoints", found.constant),
    ("checkpoints that are the same", [" = ".join(pair) for pair in found.duplicates]),
  ):
    if names:
      CONSOLE.print(f"note: {said}: {printable(listed(names))}")
  _print_facts(bank_facts(out))


def _show(directory: str) -> None:
  picture = outputs.checked(_PICTURE.value, "--picture", outside=directory, ours=is_figure)
  facts = bank_facts(files.as_path(directory))
  _print_facts(facts)
  files.write_bytes(picture, bank_picture(facts))
  CONSOLE.print(f"picture: {picture}")


def _print_facts(facts: BankFacts) -> None:
  table = Table(
    "leaf",
    title=Text(
      f"{facts.tasks:,} tasks, {facts.targets} targets, {facts.weights:,} weights, "
      f"{facts.size / 2**20:.1f} MiB"
    ),
    caption="spread: sd over tasks in units of the rms; 0 tells no task apart",
  )
  for name in ("shape", "rms", "spread"):
    table.add_column(name, justify="right")
  for leaf in facts.leaves:
    shape = "×".join(map(str, leaf.shape))
    table.add_row(Text(leaf.path), shape, f"{leaf.rms:.3g}", f"{leaf.spread:.3g}")
  CONSOLE.print(table)
  if facts.losses is not None:
    means = ", ".join(f"{loss:.3g}" for loss in facts.losses.mean(0))
    CONSOLE.print(f"mean loss at the targets: {means}")
  if facts.bends.size:
    CONSOLE.print(
      f"cosine of successive steps (1: straight): mean {facts.bends.mean():.3f}, least "
      f"{facts.bends.min():.3f}"
    )
