"""`mcdi-run`."""

from mcdi_jax.commands.run import main

if __name__ == "__main__":
  main()
