"""From images to features, once: with a frozen encoder that you have.

  python -m launch.embed --data photos/ --encoder efficientnet-lite0 \\
      --weights efficientnet-lite0-57934424.pth --out photos.npz

`launch.run --config configs/transfer.py`, `launch.generate` and `launch.predict` take the
`.npz`; it may come from any other program, too: `features` float [n, D] and `labels` [n],
optionally `classes`, `class_split`, `domain` and `encoder`. An interrupted command goes
on where it was.
"""

from absl import app, flags

from mcdi_jax.commands.command import command
from mcdi_jax.data import DataConfig, source_settings
from mcdi_jax.encoders import ENCODERS
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.embed import embed_images

_DATA = flags.DEFINE_string(
  "data", None, "A folder of class folders, an .npz of images, or tfds:NAME."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
_ENCODER = flags.DEFINE_enum("encoder", None, sorted(ENCODERS), "The kind of encoder.")
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "The file or folder of its weights; where to have them: the docs."
)
_OUT = flags.DEFINE_string("out", None, "The .npz that is written.")
_SIZE = flags.DEFINE_integer(
  "size", 0, "Pixels a side that images are resized to; 0: the encoder's own.", 0
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "float16"], "That features are kept in."
)
flags.mark_flags_as_required(["data", "encoder", "weights", "out"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"{argv[1]!r} is no flag")
  data = from_mapping(DataConfig, source_settings(_DATA.value, _DATA_DIR.value))
  number, width = embed_images(
    data,
    _OUT.value,
    encoder=_ENCODER.value,
    weights=_WEIGHTS.value,
    size=_SIZE.value,
    dtype=_DTYPE.value,
  )
  CONSOLE.print(f"{number} images in {width} features: {_OUT.value}")
