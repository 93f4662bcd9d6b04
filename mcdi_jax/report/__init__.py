"""Pages made of the files of a run, or of several: HTML, and Markdown tables."""

from mcdi_jax.report.comparison import write_comparison
from mcdi_jax.report.markdown import against_tables, results_tables, write_tables
from mcdi_jax.report.page import write_report
from mcdi_jax.report.trade import write_trades

__all__ = [
  "against_tables",
  "results_tables",
  "write_comparison",
  "write_report",
  "write_tables",
  "write_trades",
]
