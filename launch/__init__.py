"""Commands: `python -m launch.run`, `python -m launch.benchmark`."""
