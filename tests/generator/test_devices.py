"""What is saved on one kind or number of devices loads on any other."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import make_generator

import mcdi_jax
from mcdi_jax.generator.storage import _leaves, fingerprint
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, load_tree

_HERE = Path(__file__).parent

SAVE = """
import pathlib, sys, jax, jax.numpy as jnp, optax
import orbax.checkpoint as ocp
from miniature import make_generator
import mcdi_jax
from mcdi_jax.generator import save_generator
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, save_tree

place = files.as_path(sys.argv[1])
devices = jax.devices()
mesh = jax.make_mesh((len(devices),), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
split = jax.sharding.NamedSharding(mesh, jax.P("i"))
same = jax.sharding.NamedSharding(mesh, jax.P())
w = jnp.arange(48.0).reshape(8, 6)
params = {"a": jax.device_put(w, split), "b": jax.device_put(w[0], devices[-1])}
params["c"] = jax.device_put(w.astype(jnp.bfloat16), same)
state = {"step": jnp.int32(7), "params": params, "opt": optax.adam(1e-3).init(params)}
state["key"] = jax.device_put(jax.random.key(5), devices[-1])
Checkpoints(place / "checkpoints").save(7, state)
save_tree(place / "params", params)
mcdi_jax.save_weights(place / "w.safetensors", params)
samples = {"a": params["a"], "c": params["c"]}
mcdi_jax.save_distribution(place / "d", samples, {"number": jax.device_put(3, same)})
for name, device in (("last", devices[-1]), ("replicated", same)):
  save_generator(place / name, jax.device_put(make_generator("transformer"), device))
with ocp.StandardCheckpointer() as c:  # as earlier versions did
  c.save(place / "earlier", state)
earlier = pathlib.Path(place) / "earlier"
listed = {str(f.relative_to(earlier)): files.sha256(files.as_path(f))
          for f in earlier.rglob("*") if f.is_file()}
files.write_json(place / "earlier" / "sha256.json", listed)
print(len(devices))
"""

LOAD = """
import sys, jax
from test_devices import check_all
from mcdi_jax.lib import files
check_all(files.as_path(sys.argv[1]))
print(len(jax.devices()))
"""

SHIPPED = """
import sys, jax, jax.numpy as jnp, numpy as np
import mcdi_jax
x = np.random.default_rng(0).uniform(size=(5, 28, 28, 1)).astype(np.float32)
support = mcdi_jax.Support(jnp.asarray(x), jnp.arange(5))
generator = mcdi_jax.load_generator("omniglot-5way")
params = mcdi_jax.generate(generator, support, jax.random.key(1), ways=5)
mcdi_jax.save_weights(sys.argv[1], params)
print(len(jax.devices()))
"""


def _process(program: str, argument: Path, devices: int) -> None:
  count = f"--xla_force_host_platform_device_count={devices}"
  flags = f"{os.environ.get('XLA_FLAGS', '')} {count}"
  paths = os.pathsep.join(map(str, (_HERE.parents[1], _HERE.parent, _HERE)))
  ended = subprocess.run(
    [sys.executable, "-c", program, str(argument)],
    env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert ended.stdout == f"{devices}\n", ended.stderr


def check_all(place: files.Path) -> None:
  """That all of `SAVE` can be read by this process, exactly."""
  w = np.arange(48.0, dtype=np.float32).reshape(8, 6)
  params = {"a": w, "b": w[0], "c": w.astype(jnp.bfloat16)}
  zeros = jax.tree.map(np.zeros_like, params)
  adam = optax.adam(1e-3).init(jax.tree.map(jnp.asarray, params))
  template = {"step": np.int32(0), "params": zeros, "opt": adam, "key": jax.random.key(0)}
  step, state = Checkpoints(place / "checkpoints").restore(template)
  assert step == 7
  for found in (state, load_tree(place / "earlier", template)):
    chex.assert_trees_all_equal(found["params"], params)
    assert int(found["step"]) == 7
    assert jax.tree.structure(found["opt"]) == jax.tree.structure(adam)
    assert jax.random.key_data(found["key"]).tolist() == [0, 5]
  chex.assert_trees_all_equal(load_tree(place / "params", zeros), params)
  chex.assert_trees_all_equal(mcdi_jax.load_weights(place / "w.safetensors"), params)
  samples, manifest = mcdi_jax.load_distribution(place / "d")
  chex.assert_trees_all_equal(samples, {"a": params["a"], "c": params["c"]})
  assert manifest == {"number": 3}
  made = make_generator("transformer")
  for name in ("last", "replicated"):
    assert fingerprint(mcdi_jax.load_generator(place / name)) == fingerprint(made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> files.Path:
  """By a process with four devices: split over them, on the last, on all."""
  place = tmp_path_factory.mktemp("saved")
  _process(SAVE, place, 4)
  return files.as_path(place)


def test_four_devices_save_and_one_reads(saved: files.Path):
  assert len(jax.devices()) == 1
  check_all(saved)


def test_four_devices_save_and_eight_read(saved: files.Path):
  _process(LOAD, saved, 8)


@pytest.mark.parametrize("devices", ["cuda:0", "cpu:5", "TPU_3(process=0,(1,0,0,0))"])
def test_the_shipped_generator_says_another_device(tmp_path: Path, devices: str):
  """A copy with a file of devices, as Orbax writes for jax arrays, that names one that is
  not here."""
  shipped = Path(mcdi_jax.__file__).parent / "trained" / "omniglot-5way"
  copy = shutil.copytree(shipped, tmp_path / "g")
  path = copy / "weights" / "_sharding"
  assert not path.exists()
  leaves, _ = jax.tree_util.tree_flatten_with_path(_leaves(mcdi_jax.load_generator(copy)))
  names = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in leaves]
  entry = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": devices})
  path.write_text(json.dumps({base64.b64encode(n.encode()).decode(): entry for n in names}))
  listed = files.read_json(files.as_path(copy / "weights" / "sha256.json"))
  listed["_sharding"] = files.sha256(files.as_path(path))
  files.write_json(files.as_path(copy / "weights" / "sha256.json"), listed)
  described = files.read_json(files.as_path(copy / "generator.json"))
  del described["tree"]  # the checksum of what it was
  files.write_json(files.as_path(copy / "generator.json"), described)
  found, expected = (mcdi_jax.load_generator(g) for g in (copy, "omniglot-5way"))
  assert fingerprint(found) == fingerprint(expected)


def test_the_shipped_generator_makes_the_same_weights_on_one_and_eight_devices(
  tmp_path: Path,
):
  for devices in (1, 8):
    _process(SHIPPED, tmp_path / str(devices), devices)
  one, eight = (mcdi_jax.load_weights(tmp_path / n) for n in ("1", "8"))
  chex.assert_trees_all_close(one, eight, rtol=0, atol=1e-6)
