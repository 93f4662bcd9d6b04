"""`mcdi-predict`."""

from mcdi_jax.commands.predict import main

if __name__ == "__main__":
  main()
