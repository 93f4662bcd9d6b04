"""Commands, each `python -m launch.NAME`; what they do is in `mcdi_jax.commands`."""
