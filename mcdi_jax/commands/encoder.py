"""The flags that say which encoder makes features of images or texts."""

from collections.abc import Callable

from absl import flags

from mcdi_jax.encoders import ENCODERS, TEXT_ENCODERS
from mcdi_jax.pipeline.own_features import EncoderFlags


def encoder_flags(module: str) -> Callable[[], EncoderFlags]:
  """Defines them for a command's module; what is returned reads them."""
  own = {"module_name": module}
  kind = flags.DEFINE_enum(
    "encoder",
    None,
    sorted((*ENCODERS, *TEXT_ENCODERS)),
    "What embeds images or texts, for generators on features.",
    **own,
  )
  weights = flags.DEFINE_string(
    "encoder_weights", None, "The file or folder of the encoder's weights.", **own
  )
  size = flags.DEFINE_integer(
    "encoder_size",
    0,
    "Pixels a side that images are resized to; 0: the encoder's own.",
    0,
    **own,
  )
  return lambda: EncoderFlags(kind.value or "", weights.value or "", size.value)
