"""`mcdi-table`."""

from mcdi_jax.commands.table import main

if __name__ == "__main__":
  main()
