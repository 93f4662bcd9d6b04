"""Downstream networks as pairs of pure functions, and their pretraining."""

from mcdi_jax.networks.conv4 import conv4
from mcdi_jax.networks.head import head, prototype_head
from mcdi_jax.networks.network import Network

__all__ = ["Network", "conv4", "head", "prototype_head"]
