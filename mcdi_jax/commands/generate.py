"""From a folder of labelled images to the weights of their classifier.

  python -m launch.generate --generator omniglot-5way --support my_classes/ --out weights/

`my_classes/` has a folder of images a class; the folders' names are the classes. It may be
an `.npz` too, with `images` and `labels`. `launch.predict` then labels new images with the
weights.

A generator of heads on features (configs/transfer.py) takes an `.npz` of `features` and
`labels` (launch.embed), or images with the encoder that is to embed them:

  python -m launch.generate --generator runs/transfer --support my_classes/ \\
      --out weights/ --encoder efficientnet-lite0 \\
      --encoder_weights efficientnet-lite0-57934424.pth
  python -m launch.generate --generator any-features --support examples.jsonl \\
      --out weights/ --encoder bert --encoder_weights all-MiniLM-L6-v2/

A line of examples.jsonl is `{"text": …, "label": …}`.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.commands.encoder import encoder_flags
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import generate_from_folder

_GENERATOR = flags.DEFINE_string(
  "generator", "omniglot-5way", "A generator that ships with the package, or a directory."
)
_SUPPORT = flags.DEFINE_string(
  "support", None, "A folder with a folder of images a class, an .npz, or a .jsonl."
)
_OUT = flags.DEFINE_string("out", None, "The folder that the weights are written to.")
_SAMPLES = flags.DEFINE_integer(
  "samples", 0, "Samples of a distribution of weights; 0: one set of weights.", 0, 10_000
)
_TEMPERATURE = flags.DEFINE_float(
  "temperature", None, "Of the noise, 0 to 1; default 0, and 1 for samples.", 0, 1
)
_SHOTS = flags.DEFINE_integer(
  "shots", None, "Images to take of each class, at most; default all.", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise.", 0, 2**32 - 1)
_UNLABELLED = flags.DEFINE_string(
  "unlabelled",
  "",
  "More items like those to be labelled, without labels: their mean is the features' "
  "centre. An .npz of features, or images.",
)
_ENCODER = encoder_flags(__name__)
flags.mark_flags_as_required(["support", "out"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  made = generate_from_folder(
    _GENERATOR.value,
    _SUPPORT.value,
    _OUT.value,
    samples=_SAMPLES.value,
    temperature=_TEMPERATURE.value,
    shots=_SHOTS.value,
    seed=_SEED.value,
    encoder=_ENCODER(),
    unlabelled=_UNLABELLED.value,
  )
  kind = f"{made['samples']} samples of weights" if made["samples"] else "weights"
  CONSOLE.print(f"{kind} for {', '.join(made['classes'])}: {_OUT.value}")
