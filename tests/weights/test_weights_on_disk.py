"""Weights come back from disk to the last bit, or not at all."""

import collections
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from interruption import stop_at

import mcdi_jax
from mcdi_jax.lib import disk, files
from mcdi_jax.lib.checkpoint import save_tree
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError


def _params(seed: int = 0, *lead: int) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  return {
    "head": {
      "kernel": jnp.asarray(rng.normal(size=(*lead, 4, 3)), jnp.float32),
      "bias": jnp.asarray(rng.normal(size=(*lead, 3)), jnp.float16),
    },
    "steps": jnp.full((*lead, 2), 7, jnp.int32),
  }


def test_weights_survive_exactly(tmp_path: Path):
  params = _params()
  mcdi_jax.save_weights(tmp_path / "w.safetensors", params)
  found = mcdi_jax.load_weights(tmp_path / "w.safetensors")
  chex.assert_trees_all_equal(found, params, strict=True)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_a_second_file_replaces_the_first(tmp_path: Path):
  for seed in (0, 1):
    mcdi_jax.save_weights(tmp_path / "w", _params(seed))
  chex.assert_trees_all_equal(mcdi_jax.load_weights(tmp_path / "w"), _params(1))


def _layouts(dtype: str) -> dict[str, Any]:
  """One array as memory may hold it, four samples of it each."""
  array = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(dtype)
  return {
    "as it is": array,
    "transposed": array.T,
    "reversed": array[::-1, :, ::-1],
    "a slice": array[:, 1:3],
    "broadcast": np.broadcast_to(array[:, :1], (4, 3, 4)),
    "Fortran": np.asfortranarray(array),
    "one number": array[:, 0, 0],
    "empty": array[:, :0],
    "jax": jnp.asarray(array[:, 0]),
  }


TREES: dict[str, Any] = {
  "names with /": lambda x: {"conv/linear": {"w": x}, "conv": {"a/": x, "/": x}},
  "names with . and the like": lambda x: {"a.b": x, "a": {"b": x}, "%2F": x, "..": x},
  "odd names": lambda x: {"": {"": x}, " ": x, "é\n": x, "0": x, "list": x},
  "empty groups": lambda x: {"a": {}, "b": {"c": {}, "d": x}, "e": [], "f": ()},
  "lists and tuples": lambda x: {"a": [x, (x, {"b": x})], "c": (x,), "d": [[], [x]]},
  "a list": lambda x: [{"kernel": x}, {"kernel": x}],
  "eleven": lambda x: [x] * 11,
}


def _assert_same(found: Any, written: Any) -> None:
  """Structure, types of the groups, dtypes, shapes and bytes."""
  assert type(found) is type(written) or not isinstance(written, (dict, list, tuple))
  if isinstance(written, dict):
    assert found.keys() == written.keys()
    for name in written:
      _assert_same(found[name], written[name])
  elif isinstance(written, (list, tuple)):
    for a, b in zip(found, written, strict=True):
      _assert_same(a, b)
  else:
    assert (found.dtype, found.shape) == (written.dtype, np.shape(written))
    assert np.asarray(found).tobytes() == np.asarray(written).tobytes()


@pytest.mark.parametrize("dtype", files.DTYPES)
def test_every_dtype_and_layout_comes_back(tmp_path: Path, dtype: str):
  """jax arrays where jax has the dtype, numpy where it would narrow it."""
  layouts = _layouts(dtype)
  mcdi_jax.save_weights(tmp_path / "w", {**layouts, "0-d": layouts["as it is"][0, 0, 0]})
  found = mcdi_jax.load_weights(tmp_path / "w")
  zero_d = found.pop("0-d")
  assert zero_d.shape == ()
  assert zero_d.tobytes() == layouts["as it is"][0, 0, 0].tobytes()
  _assert_same(found, layouts)
  mcdi_jax.save_distribution(tmp_path / "d", layouts)
  samples, _ = mcdi_jax.load_distribution(tmp_path / "d")
  _assert_same(samples, layouts)
  for leaf in (*jax.tree.leaves(found), *jax.tree.leaves(samples)):
    assert isinstance(leaf, jax.Array) or leaf.dtype.itemsize == 8


@pytest.mark.parametrize("name", TREES)
def test_every_structure_comes_back(tmp_path: Path, name: str):
  leaves = itertools.count()
  numbered = TREES[name](...)
  tree = jax.tree.map(lambda _: np.full((2, 3), next(leaves), np.float32), numbered)
  mcdi_jax.save_weights(tmp_path / "w", tree)
  _assert_same(mcdi_jax.load_weights(tmp_path / "w"), tree)
  mcdi_jax.save_distribution(tmp_path / "d", tree)
  _assert_same(mcdi_jax.load_distribution(tmp_path / "d")[0], tree)


class _Group(NamedTuple):
  w: Any


@pytest.mark.parametrize(
  ("leaf", "said"),
  [
    (None, "head/bias is of type NoneType"),
    (0.5, "head/bias is of type float"),
    (True, "head/bias is of type bool"),
    ("text", "head/bias is of type str"),
    (np.array([None]), "head/bias is object: cast it"),
    (np.array(["a"]), "head/bias is <U1: cast it"),
    (np.arange(2, dtype=">f4"), "head/bias is >f4: cast it"),
    (np.arange(2.0).astype(np.longdouble), "head/bias is .*: cast it"),
    (np.ma.masked_array([1.0, 2.0], [True, False]), "head/bias is of type MaskedArray"),
    (jnp.zeros(2, jnp.int4), "head/bias is int4: cast it"),
    (jax.random.key(0), "head/bias is key<fry>: cast it"),
    (_Group(jnp.zeros(2)), "head/bias is of type _Group"),
    (collections.OrderedDict(a=jnp.zeros(2)), "head/bias is of type OrderedDict"),
    ({1: jnp.zeros(2)}, "1 in head/bias is no text"),
    ({("a",): jnp.zeros(2)}, "in head/bias is no text"),
    ({"\udc80": jnp.zeros(2)}, "in head/bias has no UTF-8"),
    (
      {"a/b": jnp.zeros(2), "a": {"b": jnp.zeros(2)}},
      "two leaves are called head/bias/a/b",
    ),
  ],
)
def test_what_would_not_come_back_is_named_and_the_earlier_file_stays(
  tmp_path: Path, leaf: Any, said: str
):
  mcdi_jax.save_weights(tmp_path / "w", _params())
  mcdi_jax.save_distribution(tmp_path / "d", _params(1, 4))
  for save, place in ((mcdi_jax.save_weights, "w"), (mcdi_jax.save_distribution, "d")):
    with pytest.raises(InputError, match=said):
      save(tmp_path / place, {"head": {"bias": leaf}})
  chex.assert_trees_all_equal(mcdi_jax.load_weights(tmp_path / "w"), _params())
  found, _ = mcdi_jax.load_distribution(tmp_path / "d")
  chex.assert_trees_all_equal(found, _params(1, 4))


@pytest.mark.parametrize("params", [jnp.zeros(2), None, {"__metadata__": jnp.zeros(2)}])
def test_what_is_no_tree_of_names_is_refused(tmp_path: Path, params: Any):
  with pytest.raises(InputError):
    mcdi_jax.save_weights(tmp_path / "w", params)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", files.DTYPES)
def test_files_of_other_tools_are_read(tmp_path: Path, dtype: str):
  """Names split at "/"; metadata of theirs means nothing here."""
  array = np.arange(6).reshape(2, 3).astype(dtype)
  arrays = {"a/b": array, "a/c.weight": array[0], "d": array[1, 1]}
  content = safetensors.numpy.save(
    {n: np.asarray(x) for n, x in arrays.items()}, {"structure": "x", "format": "pt"}
  )
  (tmp_path / "w").write_bytes(content)
  found = mcdi_jax.load_weights(tmp_path / "w")
  _assert_same(found, {"a": {"b": array, "c.weight": array[0]}, "d": array[1, 1]})


def test_names_that_no_nested_dict_holds_are_named(tmp_path: Path):
  arrays = {name: np.zeros(2) for name in ("a/b", "a/b/c")}
  (tmp_path / "w").write_bytes(safetensors.numpy.save(arrays))
  with pytest.raises(InputError, match="leaf a/b and others below"):
    mcdi_jax.load_weights(tmp_path / "w")


def test_a_dtype_without_a_name_here_is_named(tmp_path: Path):
  header = b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
  (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"x")
  with pytest.raises(InputError, match="w holds a in F4|w is damaged"):
    mcdi_jax.load_weights(tmp_path / "w")


@pytest.mark.parametrize("structure", ["{", "3", '{"a": "c"}', '["set", "a"]', '{"a": []}'])
def test_a_broken_structure_is_damage(tmp_path: Path, structure: str):
  content = safetensors.numpy.save({"a": np.zeros(2)}, {"mcdi_jax.structure": structure})
  (tmp_path / "w").write_bytes(content)
  with pytest.raises(DamagedError, match="w is damaged"):
    mcdi_jax.load_weights(tmp_path / "w")


def test_weights_that_are_not_there_or_damaged(tmp_path: Path):
  path = tmp_path / "w"
  with pytest.raises(MissingError, match="there is no"):
    mcdi_jax.load_weights(path)
  mcdi_jax.save_weights(path, _params())
  path.write_bytes(path.read_bytes()[:-3])
  with pytest.raises(DamagedError, match="damaged"):
    mcdi_jax.load_weights(path)


def test_a_distribution_survives_exactly(tmp_path: Path):
  samples, manifest = _params(2, 8), {"temperature": 0.5, "keys": [1, 2]}
  mcdi_jax.save_distribution(tmp_path / "d", _params(3, 5))
  mcdi_jax.save_distribution(tmp_path / "d", samples, manifest)
  found, said = mcdi_jax.load_distribution(tmp_path / "d")
  chex.assert_trees_all_equal(found, samples, strict=True)
  assert said == manifest


def test_a_manifest_of_numpy_and_jax_numbers_is_plain(tmp_path: Path):
  manifest = {"t": jnp.float32(0.5), "n": np.int64(3), "ways": (5, np.int32(20))}
  mcdi_jax.save_distribution(tmp_path / "d", _params(2, 8), manifest)
  found = mcdi_jax.load_distribution(tmp_path / "d")[1]
  assert found == {"t": 0.5, "n": 3, "ways": [5, 20]}


@pytest.mark.parametrize(
  ("manifest", "said"),
  [
    ({"generator": object()}, r"manifest\.generator is of type object"),
    ({"a": {1: 2}}, r"manifest\.a has the key 1"),
  ],
)
def test_a_manifest_that_json_cannot_hold_leaves_the_earlier(
  tmp_path: Path, manifest: Any, said: str
):
  mcdi_jax.save_distribution(tmp_path / "d", _params(2, 8), {"number": 1})
  with pytest.raises(InputError, match=said):
    mcdi_jax.save_distribution(tmp_path / "d", _params(3, 8), manifest)
  found, kept = mcdi_jax.load_distribution(tmp_path / "d")
  chex.assert_trees_all_equal(found, _params(2, 8))
  assert kept == {"number": 1}


def test_a_distribution_stopped_at_any_write_is_the_earlier_or_the_later(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  number, stopped, seen = 0, True, set()
  while stopped:
    number += 1
    stopped, place = False, tmp_path / str(number)
    mcdi_jax.save_distribution(place, _params(0, 4), {"seed": 0})
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        mcdi_jax.save_distribution(place, _params(1, 5), {"seed": 1})
      except KeyboardInterrupt:
        stopped = True
    samples, manifest = mcdi_jax.load_distribution(place)
    seed = manifest["seed"]
    chex.assert_trees_all_equal(samples, _params(seed, 4 + seed))
    seen.add(seed)
  assert seen == {0, 1}
  assert number > 6


def test_distributions_of_earlier_versions_are_read(tmp_path: Path):
  """Nested in the checkpoint, always in samples/, without a structure."""
  samples = _params(2, 8)
  save_tree(files.as_path(tmp_path / "d" / "samples"), samples)
  flat = traverse_util.flatten_dict(samples, sep="/")
  leaves = {n: {"shape": x.shape, "dtype": str(x.dtype)} for n, x in flat.items()}
  path = files.as_path(tmp_path / "d" / "distribution.json")
  files.write_json(path, {"manifest": {"a": 1}, "leaves": leaves})
  found, manifest = mcdi_jax.load_distribution(tmp_path / "d")
  chex.assert_trees_all_equal(found, samples, strict=True)
  assert manifest == {"a": 1}


@pytest.mark.parametrize(
  "content", ["[]", "{}", '{"manifest": {}, "leaves": [1]}', '{"leaves": {"a": {}}}']
)
def test_a_distribution_json_of_another_shape_is_damage(tmp_path: Path, content: str):
  mcdi_jax.save_distribution(tmp_path / "d", _params(2, 8))
  (tmp_path / "d" / "distribution.json").write_text(content)
  with pytest.raises(DamagedError, match="distribution.json"):
    mcdi_jax.load_distribution(tmp_path / "d")


@pytest.mark.parametrize(
  "samples", [{}, {"a": {}}, {"a": jnp.zeros(())}, {"a": jnp.zeros((0, 3))}]
)
def test_no_samples_are_refused(tmp_path: Path, samples: Any):
  with pytest.raises(InputError, match="stacked"):
    mcdi_jax.save_distribution(tmp_path / "d", samples)
  with pytest.raises(InputError, match="no elements"):
    mcdi_jax.save_distribution(tmp_path / "d", {"a": jnp.zeros((3, 0))})
  assert not list(tmp_path.iterdir())


def test_samples_must_be_stacked(tmp_path: Path):
  samples = {"a": jnp.zeros((8, 2)), "b": jnp.zeros((7, 2))}
  with pytest.raises(InputError, match=r"leading axes \['7', '8'\].*stacked"):
    mcdi_jax.save_distribution(tmp_path / "d", samples)


def test_a_damaged_distribution_is_refused(tmp_path: Path):
  with pytest.raises(MissingError):
    mcdi_jax.load_distribution(tmp_path / "d")
  mcdi_jax.save_distribution(tmp_path / "d", _params(2, 8))
  data = max((tmp_path / "d").rglob("d/*"), key=lambda f: f.stat().st_size)
  content = bytearray(data.read_bytes())
  content[len(content) // 2] ^= 1
  data.write_bytes(content)
  with pytest.raises(DamagedError, match="damaged"):
    mcdi_jax.load_distribution(tmp_path / "d")
