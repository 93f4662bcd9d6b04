"""Frozen encoders with the weights that people have: one file a kind."""

import functools
from collections.abc import Callable

from mcdi_jax.encoders.bert import bert
from mcdi_jax.encoders.efficientnet_lite import efficientnet_lite0
from mcdi_jax.encoders.encoder import Encoder, TextEncoder, features_of, square
from mcdi_jax.encoders.own import own_encoder
from mcdi_jax.encoders.vision_transformer import clip_vision, dinov2
from mcdi_jax.lib.files import PathLike

ENCODERS: dict[str, Callable[[PathLike], Encoder]] = {
  "clip": clip_vision,
  "conv4": functools.partial(own_encoder, network="conv4"),
  "dinov2": dinov2,
  "efficientnet-lite0": efficientnet_lite0,
  "resnet12": functools.partial(own_encoder, network="resnet12"),
}
"""Of each kind what reads its weights, from the file or folder that people have."""

TEXT_ENCODERS: dict[str, Callable[[PathLike], TextEncoder]] = {"bert": bert}

__all__ = ["ENCODERS", "TEXT_ENCODERS", "Encoder", "TextEncoder", "features_of", "square"]
