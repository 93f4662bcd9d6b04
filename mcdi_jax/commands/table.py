"""The results of a file as Markdown tables.

  python -m launch.table results/omniglot.jsonl
  python -m launch.table results/omniglot.jsonl --into docs/omniglot.md
  python -m launch.table results/transfer.jsonl --against ridge,ridge_loo --rows k1
  python -m launch.table results/documents.jsonl --figure documents.svg

Prints the tables, or puts them between the marks of a page. With --against, of many test
sets, only what is named: what the methods of --rows reach, and how far they are above each
rival, paired. With --figure, what each method reaches over the time that it takes.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.report import (
  against_tables,
  read_results,
  results_tables,
  write_tables,
  write_trades,
)

_INTO = flags.DEFINE_string("into", None, "A Markdown page with marks for the tables.")

_AGAINST = flags.DEFINE_list("against", [], "Rivals that --rows are compared with.")
_FIGURE = flags.DEFINE_string("figure", None, "A file .svg, .png or .pdf to draw.")
_ROWS = flags.DEFINE_list("rows", ["generated"], "Methods that are shown with --against.")


@command
def main(argv: list[str]) -> None:
  if len(argv) != 2:
    raise InputError("one file of results is needed: name a results.jsonl")
  results = files.as_path(argv[1])
  lines = read_results(results)
  if _FIGURE.value:
    write_trades(lines, _FIGURE.value)
    if not _INTO.value:
      return
  if _AGAINST.value:
    tables = against_tables(lines, _ROWS.value, _AGAINST.value)
  else:
    tables = results_tables(lines)
  if _INTO.value:
    write_tables(results, _INTO.value, tables)
  else:
    print(tables)
