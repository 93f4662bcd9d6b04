"""Frozen encoders with the weights that people have: one file a kind."""

from mcdi_jax.encoders.efficientnet_lite import EFFICIENTNET_LITE0
from mcdi_jax.encoders.encoder import Encoder, features_of

ENCODERS = {"efficientnet-lite0": EFFICIENTNET_LITE0}

__all__ = ["ENCODERS", "Encoder", "features_of"]
