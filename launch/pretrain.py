"""`mcdi-pretrain`."""

from mcdi_jax.commands.pretrain import main

if __name__ == "__main__":
  main()
