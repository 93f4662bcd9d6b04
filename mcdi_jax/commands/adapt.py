"""From a text to an adapter of a language model for it, in one go.

  python -m launch.adapt --generator document-adapters --text setup.cfg --out adapter/
  python -m launch.adapt --generator runs/documents/seed_0/generated_iterated/generator \\
      --base runs/documents/base --text document.txt --out adapter/

The adapter (LoRA) is generated from how the text begins and written as the library `peft`
does, so that other tools load it on top of the base. Printed is how well the base predicts
the rest of the text, without it and with it.
"""

from absl import flags

from mcdi_jax.commands.command import command
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import adapt_to_text

_GENERATOR = flags.DEFINE_string(
  "generator",
  None,
  "A generator of configs/documents.py: a directory, or `document-adapters`, which ships.",
)
_BASE = flags.DEFINE_string(
  "base",
  "",
  "Folder of the language model that it is for: base/ of its run; empty: the one that "
  "ships with the generator.",
)
_TEXT = flags.DEFINE_string("text", None, "A file in UTF-8.")
_OUT = flags.DEFINE_string("out", None, "The folder that the adapter is written to.")
_PASSES = flags.DEFINE_integer(
  "passes",
  0,
  "How often the generator goes on from what it generated; 0: as it was trained to.",
  lower_bound=0,
  upper_bound=100,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise.", 0, 2**32 - 1)
flags.mark_flags_as_required(["generator", "text", "out"])


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  call = (_GENERATOR.value, _BASE.value, _TEXT.value, _OUT.value)
  found = adapt_to_text(*call, passes=_PASSES.value, seed=_SEED.value)
  CONSOLE.print(f"adapter from the first {found.support} tokens: {_OUT.value}")
  if not found.rest:
    CONSOLE.print("the text has no further whole window to look at")
    return
  CONSOLE.print(
    f"nats a token on the next {found.rest}: {found.before:.3f} before, {found.after:.3f} "
    "after"
  )
  if found.after >= found.before:
    CONSOLE.print("note: this text is better off without it, see docs/documents.md")
