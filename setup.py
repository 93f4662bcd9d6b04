"""What setup.cfg cannot say: configs/ lies beside the package in a checkout and inside it
where it is installed, so that a project's own `configs` cannot take its place."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["mcdi_jax*", "launch"]), "mcdi_jax.configs"],
  package_dir={"mcdi_jax.configs": "configs"},
)
