"""`generate` as one file that runs with jax alone (`jax.export`).

Generators and supports are registered for export too, for those who export functions of
their own that take them as arguments.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export
from jaxtyping import Array, Shaped, UInt32

from mcdi_jax.diffusion import Schedule
from mcdi_jax.generator.generate import generate
from mcdi_jax.generator.generator import Generator
from mcdi_jax.generator.storage import spec_from_json, spec_to_json
from mcdi_jax.lib import files
from mcdi_jax.lib.config import check, finite, whole
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.tasks import Form, Support
from mcdi_jax.weights import Cut, Layer, LeafSpec, Roots, WeightSpace

PLATFORMS = ("cpu", "cuda", "tpu")


def export_generate(
  path: PathLike,
  generator: Generator,
  *,
  ways: int,
  shots: int,
  temperature: float = 0.0,
  platforms: tuple[str, ...] = PLATFORMS,
) -> None:
  """Writes `generate` for one form of task, with the generator in it, to one file.

  In a process that has jax, and nothing of this package,

    generate = jax.export.deserialize(bytearray(open(path, "rb").read())).call
    params = generate(x, y, jax.random.key_data(jax.random.key(0)))

  takes images float32 [N·K, h, w, c] in [0, 1], labels int32 [N·K] and a key uint32 [2]
  to a flat dict of arrays, such as `head/kernel`. Classes may have unequal numbers of
  images; what only fills up the arrays has the label −1. Nothing is checked there. Of
  another family x and y are what its supports hold.

  Args:
    ways, shots: N and K, which the file is compiled for; 1 and 1 for a family without.
    temperature: τ in [0, 1].
    platforms: that the file shall run on.

  Raises:
    InputError: a number out of range.
  """
  if not isinstance(generator, Generator):
    kind = type(generator).__name__
    raise InputError(f"generator is a {kind}: give what load_generator returns")
  ways = whole("ways", ways, least=2 if generator.family.classifies else 1)
  shots = whole("shots", shots, least=1)
  finite("temperature", temperature)
  check(0 <= temperature <= 1, "temperature", temperature, "give a number from 0 to 1")

  def of_arrays(
    x: Shaped[Array, "n ..."], y: Shaped[Array, "n ..."], key: UInt32[Array, "2"]
  ) -> dict[str, Array]:
    key = jax.random.wrap_key_data(key)
    counted = (y >= 0) & (y < ways) if generator.family.classifies else None
    support = Support(x, y, counted)
    params = generate(generator, support, key, temperature=temperature, ways=ways)
    return traverse_util.flatten_dict(params, sep="/")

  given = jax.eval_shape(lambda: generator.family.example(Form(ways, shots)))
  key = jax.ShapeDtypeStruct((2,), jnp.uint32)
  exported = export.export(jax.jit(of_arrays), platforms=platforms)(given.x, given.y, key)
  files.write_bytes(files.as_path(path), bytes(exported.serialize()))


def is_exported(content: bytes) -> bool:
  """Whether a file is a function that jax has exported."""
  try:
    export.deserialize(bytearray(content))
  except Exception:  # whatever flatbuffers makes of other bytes
    return False
  return True


def _spec_to_bytes(static: tuple[Any, ...]) -> bytes:
  (spec,) = static
  return json.dumps(spec_to_json(spec)).encode()


def _spec_from_bytes(content: bytes) -> tuple[Any, ...]:
  return (spec_from_json(json.loads(content)),)


def _space_to_bytes(static: tuple[Any, ...]) -> bytes:
  return json.dumps(static).encode()


def _space_from_bytes(content: bytes) -> tuple[Any, ...]:
  leaves, gauge, layers = json.loads(content)
  specs = tuple(LeafSpec(p, Cut(*c), tuple(s), d) for p, c, s, d in leaves)
  return specs, gauge, tuple(Layer(*layer) for layer in layers)


export.register_namedtuple_serialization(Support, serialized_name="mcdi_jax.Support")
export.register_namedtuple_serialization(Schedule, serialized_name="mcdi_jax.Schedule")
export.register_namedtuple_serialization(Roots, serialized_name="mcdi_jax.Roots")
export.register_pytree_node_serialization(
  Generator,
  serialized_name="mcdi_jax.Generator",
  serialize_auxdata=_spec_to_bytes,
  deserialize_auxdata=_spec_from_bytes,
)
export.register_pytree_node_serialization(
  WeightSpace,
  serialized_name="mcdi_jax.WeightSpace",
  serialize_auxdata=_space_to_bytes,
  deserialize_auxdata=_space_from_bytes,
)
