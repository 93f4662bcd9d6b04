"""Pages made of the files of a run, or of several: HTML, and Markdown tables."""

from mcdi_jax.report.comparison import write_comparison
from mcdi_jax.report.markdown import against_tables, results_tables, write_tables
from mcdi_jax.report.page import write_report
from mcdi_jax.report.trade import write_trades
from mcdi_jax.report.workdir import read_results

__all__ = [
  "against_tables",
  "read_results",
  "results_tables",
  "write_comparison",
  "write_report",
  "write_tables",
  "write_trades",
]
