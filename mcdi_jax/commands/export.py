"""A generator as one file that runs with jax alone, for one form of task.

  python -m launch.export --generator omniglot-5way --ways 5 --shots 1 --out five.jax

In any process that has jax: `jax.export.deserialize(bytearray(open("five.jax",
"rb").read())).call(x, y, key)` takes images float32 [N·K, h, w, c] in [0, 1], labels int32
[N·K] and `jax.random.key_data(key)` to the generated leaves, such as `head/kernel`.
"""

from absl import flags

from mcdi_jax import export_generate, load_generator
from mcdi_jax.commands.command import command
from mcdi_jax.generator.export import is_exported
from mcdi_jax.lib import outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE

_GENERATOR = flags.DEFINE_string(
  "generator", "omniglot-5way", "A generator that ships with the package, or a directory."
)
_OUT = flags.DEFINE_string("out", None, "The file that is written.")
_WAYS = flags.DEFINE_integer("ways", 5, "Classes of a task.")
_SHOTS = flags.DEFINE_integer("shots", 1, "Images a class.")
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Of the noise, 0 to 1.")
flags.mark_flag_as_required("out")


@command
def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise InputError(f"{argv[1]!r} is no flag")
  out = outputs.checked(_OUT.value, "--out", ours=is_exported)
  generator = load_generator(_GENERATOR.value)
  export_generate(
    out,
    generator,
    ways=_WAYS.value,
    shots=_SHOTS.value,
    temperature=_TEMPERATURE.value,
  )
  form = f"{_WAYS.value}-way {_SHOTS.value}-shot"
  CONSOLE.print(f"{form if generator.family.classifies else 'exported'}: {_OUT.value}")
