"""`mcdi-adapt`."""

from mcdi_jax.commands.adapt import main

if __name__ == "__main__":
  main()
