"""`mcdi-embed`."""

from mcdi_jax.commands.embed import main

if __name__ == "__main__":
  main()
