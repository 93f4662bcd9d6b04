"""Exported functions run without this package, and give what it gives."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from miniature import IMAGE, SHOTS, WAYS, make_support

from mcdi_jax import Support, export_generate, generate, load_generator
from mcdi_jax.generator import save_generator
from mcdi_jax.lib.errors import InputError

FORM = {"ways": WAYS, "shots": SHOTS}
ROUNDING = 1e-5  # float32, through T = 6 steps of a network
HERE = ({"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend()),)

# First with this package out of reach, then with it, in one process that starts fresh.
ELSEWHERE = """
import sys
import jax, numpy as np
from jax import export
sys.modules["mcdi_jax"] = None  # whoever imports it gets an ImportError

def load(path):
  return export.deserialize(bytearray(open(path, "rb").read()))

x, y = np.load("x.npy"), np.load("y.npy")
keys = [jax.random.key_data(jax.random.key(n)) for n in (0, 1)]
found = {}
for name in ("cold", "warm"):
  for n, key in enumerate(keys):
    for leaf, value in load(name).call(x, y, key).items():
      found[f"{name}/{n}/{leaf}"] = np.asarray(value)
assert not any(name.startswith("mcdi_jax.") for name in sys.modules)

del sys.modules["mcdi_jax"]
import mcdi_jax
generator, support = mcdi_jax.load_generator("generator"), mcdi_jax.Support(x, y)
found["own"] = np.asarray(load("own").call(generator, support, keys[0]))
np.savez("found.npz", **found)
"""


def predicted(generator: Any, support: Support, key: jax.Array) -> jax.Array:
  """A user's own function: a generator and a support are its arguments."""
  key = jax.random.wrap_key_data(key)
  params = generate(generator, support, key, temperature=0.5, ways=WAYS)
  return generator.network.apply(params, support.x)


def key_data(seed: int) -> jax.Array:
  return jax.random.key_data(jax.random.key(seed))


def exported(function: Any, *arguments: Any, **settings: Any) -> Any:
  """Through bytes and back."""
  made = export.export(jax.jit(function))(*arguments)
  return export.deserialize(made.serialize(**settings))


@pytest.fixture(scope="module")
def found(tmp_path_factory, make_generator) -> dict[str, np.ndarray]:
  """What another process has computed."""
  place = tmp_path_factory.mktemp("elsewhere")
  generator, support = make_generator(), make_support()
  export_generate(place / "cold", generator, **FORM)
  export_generate(place / "warm", generator, **FORM, temperature=1.0, platforms=HERE)
  own = export.export(jax.jit(predicted))(generator, support, key_data(0))
  (place / "own").write_bytes(own.serialize())
  save_generator(place / "generator", generator)
  np.save(place / "x.npy", support.x)
  np.save(place / "y.npy", support.y)
  ran = subprocess.run(
    [sys.executable, "-I", "-c", ELSEWHERE],
    cwd=place,
    env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert ran.returncode == 0, ran.stderr
  return dict(np.load(place / "found.npz"))


@pytest.mark.parametrize(("name", "temperature"), [("cold", 0.0), ("warm", 1.0)])
def test_a_file_gives_what_generate_gives_without_this_package(
  found, make_generator, name, temperature
):
  for n in (0, 1):
    params = generate(
      make_generator(), make_support(), jax.random.key(n), temperature=temperature
    )
    for leaf in ("kernel", "bias"):
      np.testing.assert_allclose(
        found[f"{name}/{n}/head/{leaf}"], params["head"][leaf], atol=ROUNDING
      )


def test_a_file_takes_unequal_classes_and_what_only_fills_up(tmp_path, make_generator):
  """Which may have any label that is no class, and hold anything."""
  path, generator, key = tmp_path / "f.jax", make_generator(), jax.random.key(0)
  settings = {"ways": WAYS, "shots": SHOTS, "platforms": HERE}
  export_generate(path, generator, **settings)
  call = export.deserialize(bytearray(path.read_bytes())).call
  x, _, _ = make_support()
  for labels in ([0, 0, 0, 1, 1, 2], [2, -1, 0, 1, 1, 0], [2, 99, 0, 1, 1, 0]):
    y = np.int32(labels)
    counts = (y >= 0) & (y < WAYS)
    found = call(
      jnp.where(counts[:, None, None, None], x, jnp.nan), y, jax.random.key_data(key)
    )
    params = generate(generator, Support(x[counts], y[counts]), key)
    for leaf in ("kernel", "bias"):
      expected = params["head"][leaf]
      np.testing.assert_allclose(found[f"head/{leaf}"], expected, atol=ROUNDING)


def test_the_key_of_a_file_matters_where_there_is_noise(found):
  np.testing.assert_array_equal(found["cold/0/head/kernel"], found["cold/1/head/kernel"])
  warm = [found[f"warm/{n}/head/kernel"] for n in (0, 1)]
  assert abs(warm[0] - warm[1]).max() > 1e-3


def test_a_users_function_of_a_generator_runs_in_another_process(found, make_generator):
  expected = predicted(make_generator(), make_support(), key_data(0))
  np.testing.assert_allclose(found["own"], expected, atol=ROUNDING)


@pytest.mark.parametrize(
  "settings",
  [
    {},
    {"network": "equivariant", "ways": (3, 5), "base": "prototypes", "gauge": False},
    {"ancestral": True, "end": 0.05},
    {"precondition": 0.1},
  ],
)
def test_generators_and_supports_come_through_bytes(make_generator, settings):
  """Specification and weight space too, as arguments and as results."""
  generator, support = make_generator(**settings), make_support()
  function = exported(lambda g, s: {"made": g, "of": s}, generator, support)
  assert function.in_tree == jax.tree.structure(((generator, support), {}))
  given = jax.tree.map(lambda leaf: leaf + 1, (generator, support))
  result = function.call(*given)
  assert result["made"].spec == generator.spec
  assert hash(result["made"].space.leaves) == hash(generator.space.leaves)
  jax.tree.map(np.testing.assert_array_equal, (result["made"], result["of"]), given)


def test_a_generator_of_another_specification_does_not_fit(make_generator):
  generator, support = make_generator(), make_support()
  function = exported(lambda g, s: g.space.scale, generator, support)
  with pytest.raises(ValueError, match="tree"):
    function.call(make_generator(base="prototypes"), support)


def test_gradients_of_an_exported_function_reach_the_support_and_the_generator(
  make_generator,
):
  generator, support, key = make_generator(), make_support(), key_data(0)

  def loss(generator, support, key):
    return jnp.mean(predicted(generator, support, key)[:, 0] ** 2)

  own = exported(loss, generator, support, key, vjp_order=1)

  def gradients(function):
    of = lambda g, x: function(g, Support(x, support.y), key)  # noqa: E731
    return jax.jit(jax.grad(of, argnums=(0, 1)))(generator, support.x)

  found, expected = gradients(own.call), gradients(loss)
  assert abs(expected[1]).max() > 1e-3  # not in vain
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=ROUNDING, rtol=1e-4)


def test_a_file_is_written_whole_and_for_the_platforms_that_are_asked_for(
  tmp_path, make_generator
):
  path = tmp_path / "below" / "three.jax"
  export_generate(path, make_generator(), **FORM, platforms=("cpu", "tpu"))
  function = export.deserialize(bytearray(path.read_bytes()))
  assert set(function.platforms) == {"cpu", "tpu"}
  assert [a.shape for a in function.in_avals] == [(WAYS * SHOTS, *IMAGE), (6,), (2,)]
  assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
  ("settings", "said"),
  [
    ({"ways": 1}, "ways is 1: .*at least 2"),
    ({"shots": 0}, "shots is 0: .*at least 1"),
    ({"temperature": 1.5}, "temperature is 1.5: .*0 to 1"),
    ({"temperature": -0.1}, "temperature is -0.1: .*0 to 1"),
    ({"temperature": float("nan")}, "temperature is nan"),
  ],
)
def test_numbers_out_of_range_are_refused_by_name(
  tmp_path: Path, make_generator, settings, said
):
  with pytest.raises(InputError, match=said):
    export_generate(tmp_path / "file", make_generator(), **{**FORM, **settings})
  assert not list(tmp_path.iterdir())


def test_a_shipped_generator_is_exported_for_any_number_of_ways(tmp_path):
  export_generate(
    tmp_path / "seven", load_generator("omniglot-5way"), ways=7, shots=1, platforms=HERE
  )
  function = export.deserialize(bytearray((tmp_path / "seven").read_bytes()))
  assert function.in_avals[0].shape == (7, 28, 28, 1)
  assert {a.shape[-1] for a in function.out_avals} == {7}
