"""`mcdi-bank`."""

from mcdi_jax.commands.bank import main

if __name__ == "__main__":
  main()
