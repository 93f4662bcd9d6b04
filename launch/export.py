"""`mcdi-export`."""

from mcdi_jax.commands.export import main

if __name__ == "__main__":
  main()
