"""From images or texts to features, once: with a frozen encoder that you have.

  python -m launch.embed --data photos/ --encoder efficientnet-lite0 \\
      --encoder_weights efficientnet-lite0-57934424.pth --out photos.npz
  python -m launch.embed --data texts.jsonl --encoder bert \\
      --encoder_weights all-MiniLM-L6-v2/ --out texts.npz

A line of texts.jsonl is `{"text": …, "label": …}`, optionally with a `domain` and a
`class_split` (train, val or test).

`launch.run --config configs/transfer.py`, `launch.generate` and `launch.predict` take the
`.npz`; it may come from any other program, too: `features` float [n, D] and `labels` [n],
optionally `classes`, `class_split`, `domain` and `encoder`. An interrupted command goes
on where it was.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.commands.encoder import encoder_flags
from mcdi_jax.data import DataConfig, source_settings
from mcdi_jax.data.distortions import DISTORTIONS, check_distortions
from mcdi_jax.data.texts import are_texts
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.embed import embed_set, embed_texts
from mcdi_jax.pipeline.embedding import open_encoder

_DATA = flags.DEFINE_string(
  "data", None, "A folder of class folders, an .npz of images, tfds:NAME, or a .jsonl."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets lie; default: TFDS's own.")
_OUT = flags.DEFINE_string("out", None, "The .npz that is written.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "float16"], "That features are kept in."
)
_DOMAINS = flags.DEFINE_bool(
  "domains",
  False,
  "Whether the folders in --data are domains, each with a folder for each class.",
)
_DISTORT = flags.DEFINE_multi_string(
  "distort",
  [],
  "Makes a further domain of the classes that are not for test; give it several times. "
  f"Of {', '.join(DISTORTIONS)}, or several joined by +.",
)
_PER_CLASS = flags.DEFINE_integer(
  "distorted_per_class", 50, "Images of each class that are distorted, in each way.", 1
)
_ENCODER = encoder_flags(__name__)
flags.mark_flags_as_required(["data", "encoder", "encoder_weights", "out"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  if are_texts(_DATA.value):
    if _DOMAINS.value or _DISTORT.value:
      raise InputError("--domains and --distort are for images: leave them out")
    embedding = open_encoder(*_ENCODER())
    shape = embed_texts(_DATA.value, _OUT.value, embedding, _DTYPE.value)
    CONSOLE.print(f"{shape[0]} texts in {shape[1]} features: {_OUT.value}")
    return
  check_distortions(_DISTORT.value, "--distort")
  data = from_mapping(DataConfig, source_settings(_DATA.value, _DATA_DIR.value))
  embedding = open_encoder(*_ENCODER())
  more = {"domains": _DOMAINS.value}
  distort = _DISTORT.value, _PER_CLASS.value
  number, width = embed_set(data, _OUT.value, embedding, _DTYPE.value, *distort, **more)
  CONSOLE.print(f"{number} images in {width} features: {_OUT.value}")
