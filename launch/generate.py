"""`mcdi-generate`."""

from mcdi_jax.commands.generate import main

if __name__ == "__main__":
  main()
