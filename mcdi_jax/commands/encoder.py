"""The flags that say which encoder makes features of images; commands adopt them."""

from absl import flags

from mcdi_jax.encoders import ENCODERS
from mcdi_jax.pipeline.own_features import EncoderFlags

_KIND = flags.DEFINE_enum(
  "encoder", None, sorted(ENCODERS), "What embeds images, for generators on features."
)
_WEIGHTS = flags.DEFINE_string(
  "encoder_weights", None, "The file or folder of the encoder's weights."
)
_SIZE = flags.DEFINE_integer(
  "encoder_size", 0, "Pixels a side that images are resized to; 0: the encoder's own.", 0
)


def encoder_flags() -> EncoderFlags:
  return EncoderFlags(_KIND.value or "", _WEIGHTS.value or "", _SIZE.value)
