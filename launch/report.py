"""`mcdi-report`."""

from mcdi_jax.commands.report import main

if __name__ == "__main__":
  main()
