"""From generated weights and new images, or texts, to labels.

  python -m launch.predict --weights weights/ --images new/
  python -m launch.predict --weights weights/ --texts new.txt

Prints a table, and writes every class's probability to `--csv` (predictions.csv), where a
name that begins as a formula of a spreadsheet does has a ' before it. Images that cannot
be read are named at the end, and the command then fails; the others are labelled.
"""

import sys

from absl import flags
from rich.table import Table

from mcdi_jax.commands.command import command
from mcdi_jax.commands.encoder import encoder_flags
from mcdi_jax.data.texts import are_texts
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import predict, predictions_file, write_predictions

_WEIGHTS = flags.DEFINE_string("weights", None, "A folder that launch.generate wrote.")
_IMAGES = flags.DEFINE_string(
  "images", None, "An image, a folder of images, or an .npz of features."
)
_TEXTS = flags.DEFINE_string(
  "texts", None, "A .txt with a text a line, or a .jsonl whose lines have a 'text'."
)
_GENERATOR = flags.DEFINE_string(
  "generator", None, "Where the weights' generator lies, if it has moved."
)
_CSV = flags.DEFINE_string("csv", "predictions.csv", "The file that is written.")
_ENCODER = encoder_flags(__name__)
flags.mark_flag_as_required("weights")
flags.mark_flags_as_mutual_exclusive(["images", "texts"], required=True)


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  predictions_file(_CSV.value)
  if _TEXTS.value and not are_texts(_TEXTS.value):
    raise InputError(f"--texts is {_TEXTS.value!r}: give a .txt or a .jsonl")
  items = _TEXTS.value or _IMAGES.value
  found = predict(_WEIGHTS.value, items, _GENERATOR.value, _ENCODER())
  write_predictions(_CSV.value, found)
  table = Table("text" if _TEXTS.value else "image", "class", "probability", "next best")
  for file, p in zip(found.files, found.probabilities, strict=True):
    first, second = (-p).argsort(kind="stable")[:2]  # of equal ones the first, as the CSV
    next_best = f"{found.classes[second]} {p[second]:.3f}"
    cells = (file, found.classes[first], f"{p[first]:.3f}", next_best)
    table.add_row(*cells)
  CONSOLE.print(table)
  CONSOLE.print(f"every class's probability: {_CSV.value}")
  if found.unreadable:
    sys.exit(f"error: {found.unreadable}")
