"""`mcdi-data`."""

from mcdi_jax.commands.data import main

if __name__ == "__main__":
  main()
