"""The results of a file as Markdown tables.

  python -m launch.table results/omniglot.jsonl
  python -m launch.table results/omniglot.jsonl --into README.md

Prints the tables, or puts them between the marks of a page.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.report import results_tables, write_tables

_INTO = flags.DEFINE_string("into", None, "A Markdown page with marks for the tables.")


@command
def main(argv: list[str]) -> None:
  if len(argv) != 2:
    raise InputError("one file of results is needed: name a results.jsonl")
  results = files.as_path(argv[1])
  if not results.exists():
    raise InputError(f"there is no {results}: name the results.jsonl of a run")
  if _INTO.value:
    write_tables(results, _INTO.value)
  else:
    print(results_tables(files.read_json_lines(results)))
