"""Checkpoints: exact, checked, and the newest intact one is found."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from interruption import stop_at

from mcdi_jax.lib import checkpoint, disk, files
from mcdi_jax.lib.checkpoint import (
  Checkpoints,
  is_finished,
  load_described,
  load_tree,
  save_described,
  save_tree,
)
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError


class State(NamedTuple):
  step: Any
  params: Any
  opt_state: Any
  key: Any


def _state(step: int) -> State:
  """Like a training state: nested params, optax's own NamedTuples, typed keys, bfloat16."""
  key = jax.random.key(step)
  params = {
    "a": [jax.random.normal(key, (3, 2)), jnp.full((2,), step, jnp.bfloat16)],
    "b": {"c": jnp.float32(1e-40)},
  }
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
  opt_state = optimiser.init(params)
  _, opt_state = optimiser.update(params, opt_state, params)
  return State(jnp.int32(step), params, opt_state, jax.random.split(key, 3))


def _damage(directory: Path) -> None:
  """Flips one bit in the largest file."""
  found = [f for f in Path(directory).rglob("*") if f.is_file()]
  path = max(found, key=lambda f: f.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(bytes(content))


def test_a_state_comes_back_exactly(tmp_path: Path):
  """Bit for bit, with dtypes, into the same NamedTuples; the template has no values."""
  place = files.as_path(tmp_path / "state")
  save_tree(place, _state(3))
  found = load_tree(place, jax.eval_shape(lambda: _state(0)))
  chex.assert_trees_all_equal(found, _state(3), strict=True)
  assert jax.tree.structure(found) == jax.tree.structure(_state(3))


def test_saving_replaces_what_was_there(tmp_path: Path):
  place = files.as_path(tmp_path / "state")
  save_tree(place, {"old": jnp.ones(2)})
  save_tree(place, _state(1))
  chex.assert_trees_all_equal(load_tree(place, _state(0)), _state(1))


def test_a_missing_checkpoint_is_named(tmp_path: Path):
  with pytest.raises(MissingError, match="nothing"):
    load_tree(files.as_path(tmp_path / "nothing"), _state(0))


def test_damage_is_named(tmp_path: Path):
  """A flipped bit, a file that is gone; with the folder to delete. What others lay beside
  the files is none."""
  for name in ("bit", "file", "beside"):
    place = files.as_path(tmp_path / name)
    save_tree(place, {"a": jnp.arange(100.0)})
    if name == "beside":
      (place / ".DS_Store").write_bytes(b"x")
      load_tree(place, {"a": jnp.zeros(100)})
      continue
    if name == "bit":
      _damage(place)
    else:
      data = [f for f in Path(place).rglob("*") if f.is_file() and "sha" not in f.name]
      data[0].unlink()
    with pytest.raises(
      DamagedError, match=rf"{name} is damaged \(checksum.*delete {place}"
    ):
      load_tree(place, {"a": jnp.zeros(100)})


def test_without_its_checksums_it_is_unfinished(tmp_path: Path):
  """As a save leaves it that was cut before them: missing, not damaged."""
  place = files.as_path(tmp_path / "cut")
  save_tree(place, _state(1))
  assert is_finished(place)
  (place / "sha256.json").unlink()
  assert not is_finished(place)
  with pytest.raises(MissingError, match="cut is unfinished"):
    load_tree(place, _state(0))


@pytest.mark.parametrize(
  "template",
  [
    {"a": jnp.zeros(3), "b": jnp.zeros(2)},
    {"c": jnp.zeros(3)},
    {"a": jnp.zeros(4)},
    [jnp.zeros(3)],
    {"a": jnp.zeros(3, jnp.int32)},
    {"a": jnp.zeros(3, jnp.bfloat16)},
  ],
  ids=["one more", "name", "shape", "container", "dtype", "narrower"],
)
def test_another_structure_is_no_damage(tmp_path: Path, template: Any):
  place = files.as_path(tmp_path / "state")
  save_tree(place, {"a": jnp.ones(3)})
  with pytest.raises(InputError, match="state does not hold the structure") as error:
    load_tree(place, template)
  assert not isinstance(error.value, DamagedError)


def test_the_newest_two_are_kept(tmp_path: Path):
  checkpoints = Checkpoints(files.as_path(tmp_path / "c"), keep=2)
  assert checkpoints.steps() == []
  assert checkpoints.restore(_state(0)) is None
  for step in (2, 10, 9):
    checkpoints.save(step, _state(step))
  assert checkpoints.steps() == [9, 10]  # by number, not by name
  step, state = checkpoints.restore(_state(0))
  assert step == 10
  chex.assert_trees_all_equal(state, _state(10))


def test_a_damaged_step_gives_way_to_the_one_before(tmp_path: Path, caplog):
  checkpoints = Checkpoints(files.as_path(tmp_path / "c"))
  for step in (1, 2):
    checkpoints.save(step, _state(step))
  _damage(checkpoints.directory / "2")
  step, state = checkpoints.restore(_state(0))
  assert step == 1
  chex.assert_trees_all_equal(state, _state(1))
  assert "damaged" in caplog.text
  _damage(checkpoints.directory / "1")
  assert checkpoints.restore(_state(0)) is None


def _sharding(place: Path, devices: str) -> None:
  """Puts in place what a save from such devices leaves: an older one, by Orbax alone."""
  shutil.rmtree(place, ignore_errors=True)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(place, _state(2))
  path = Path(place) / "_sharding"
  path.write_text(path.read_text().replace("cpu:0", devices))
  listed = {
    str(f.relative_to(place)): files.sha256(files.as_path(f))
    for f in Path(place).rglob("*")
    if f.is_file()
  }
  files.write_json(files.as_path(place) / "sha256.json", listed)


@pytest.mark.parametrize("devices", ["cpu:0", "cuda:0", "cpu:3", "TPU_0"])
def test_what_another_device_saved_comes_back_exactly(tmp_path: Path, devices: str):
  """Also as written before arrays went through the host, with a file of devices."""
  place = files.as_path(tmp_path / "c" / "2")
  _sharding(place, devices)
  step, found = Checkpoints(place.parent).restore(_state(0))
  assert step == 2
  chex.assert_trees_all_equal(found, _state(2), strict=True)
  assert jax.random.key_impl(found.key) == "threefry2x32"


def test_no_device_is_named_in_what_is_saved(tmp_path: Path):
  save_tree(files.as_path(tmp_path / "c"), _state(2))
  content = b"".join(f.read_bytes() for f in (tmp_path / "c").rglob("*") if f.is_file())
  assert b"cpu:0" not in content
  assert b"SingleDevice" not in content


def test_leaves_lie_where_the_template_is_bound(tmp_path: Path):
  """Otherwise on the default device, bound to none."""
  place, here = files.as_path(tmp_path / "c"), jax.devices()[0]
  save_tree(place, {"a": jnp.arange(3.0)})
  assert load_tree(place, {"a": jax.device_put(jnp.zeros(3), here)})["a"].committed
  assert not load_tree(place, {"a": jnp.zeros(3)})["a"].committed
  save_tree(place.parent / "k", jax.random.split(jax.random.key(1), 2))
  like = jax.device_put(jax.random.split(jax.random.key(0), 2), here)
  assert load_tree(place.parent / "k", like).committed
  assert not load_tree(place, {"a": jax.ShapeDtypeStruct((3,), "float32")})["a"].committed


def test_what_jax_would_narrow_comes_as_numpy(tmp_path: Path):
  place, tree = files.as_path(tmp_path / "c"), {"a": np.arange(3) + 2**40, "b": np.pi}
  tree = jax.tree.map(np.asarray, tree)
  save_tree(place, tree)
  found = load_tree(place, tree)
  chex.assert_trees_all_equal(found, tree, strict=True)


@pytest.mark.parametrize(
  "tree",
  [{"a": jnp.zeros((0, 2))}, {"a": np.array(["x"])}, {}],
  ids=["empty", "text", "nothing"],
)
def test_what_orbax_cannot_hold_is_one_sentence(tmp_path: Path, tree: Any):
  with pytest.raises(InputError, match=str(tmp_path / "c")):
    save_tree(files.as_path(tmp_path / "c"), tree)
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_the_step_before_is_whole(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
  """TensorStore says it in words of its own."""
  checkpoints = Checkpoints(files.as_path(tmp_path / "c"))
  checkpoints.save(1, _state(1))

  def full(self: Any, directory: Any, *rest: Any, **settings: Any) -> None:
    (directory.parent / f"{directory.name}.orbax-checkpoint-tmp").mkdir()
    raise ValueError("RESOURCE_EXHAUSTED: write failed [os_error_code='28']")

  with monkeypatch.context() as m:
    m.setattr(ocp.StandardCheckpointer, "save", full)
    with pytest.raises(InputError, match=r"cannot write .*/c/2 \(No space.*free some"):
      checkpoints.save(2, _state(2))
  assert errno.ENOSPC == 28
  assert [d.name for d in (tmp_path / "c").iterdir()] == ["1"]
  chex.assert_trees_all_equal(checkpoints.restore(_state(0)), (1, _state(1)))
  checkpoints.save(2, _state(2))
  assert checkpoints.steps() == [1, 2]


def test_checkpoints_stopped_at_any_write_go_on(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """The newest whole step is found without a word of damage, and in the end the newest
  two are there."""
  number, stopped = 0, True
  while stopped:
    number += 1
    stopped, checkpoints = False, Checkpoints(files.as_path(tmp_path / str(number)))
    checkpoints.save(1, {"a": jnp.full(2, 1.0)})
    checkpoints.save(2, {"a": jnp.full(2, 2.0)})
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        checkpoints.save(3, {"a": jnp.full(2, 3.0)})
      except KeyboardInterrupt:
        stopped = True
    step, found = checkpoints.restore({"a": jnp.zeros(2)})
    assert step in (2, 3)
    np.testing.assert_array_equal(found["a"], step)
    for again in range(step + 1, 5):
      checkpoints.save(again, {"a": jnp.full(2, float(again))})
    assert sorted(d.name for d in checkpoints.directory.iterdir()) == ["3", "4"]
  assert number > 7


def test_replacing_stopped_at_any_write_is_never_damage(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """The earlier, the later, or none."""
  place, seen = files.as_path(tmp_path / "c"), set()

  def read() -> Any:
    try:
      return float(load_tree(place, {"a": jnp.zeros(2)})["a"][0])
    except MissingError:
      return None

  save_tree(place, {"a": jnp.ones(2)})
  with monkeypatch.context() as m:
    m.setattr(disk, "write_point", lambda path: seen.add(read()))
    save_tree(place, {"a": jnp.zeros(2)})
  assert seen == {1.0, None, 0.0}


def _described(place: Path, number: int) -> None:
  content, tree = {"about": number}, {"a": jnp.full(4, float(number))}
  save_described(files.as_path(place) / "it.json", content, "weights", tree)


def _read(place: Path) -> tuple[int, float]:
  found, tree = load_described(
    files.as_path(place) / "it.json", ("about",), "weights", lambda _: {"a": jnp.zeros(4)}
  )
  return found["about"], float(tree["a"][0])


def test_a_tree_and_its_description_are_of_one_save(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Stopped at any write: the earlier one or the later, and a later save is clean."""
  number, stopped, seen = 0, True, set()
  while stopped:
    number += 1
    stopped, place = False, tmp_path / str(number)
    _described(place, 1)
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        _described(place, 2)
      except KeyboardInterrupt:
        stopped = True
    about, value = _read(place)
    assert about == value
    seen.add(about)
    _described(place, 3)
    assert _read(place) == (3, 3)
  assert seen == {1, 2}


def test_a_reader_never_sees_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  """At whatever write of another process it reads; and if it is replaced, once or twice,
  between the file and the tree that it names."""
  _described(tmp_path, 1)
  seen = []
  with monkeypatch.context() as m:
    m.setattr(disk, "write_point", lambda path: seen.append(_read(tmp_path)))
    _described(tmp_path, 2)
  assert set(seen) == {(1, 1), (2, 2)}
  load = checkpoint.load_tree
  for later in ([3], [4, 5]):

    def overtaken(*arguments: Any, later: list[int] = later) -> Any:
      while later:
        _described(tmp_path, later.pop(0))
      return load(*arguments)

    monkeypatch.setattr(checkpoint, "load_tree", overtaken)
    last = later[-1]
    assert _read(tmp_path) == (last, last)


def test_a_description_beside_another_tree_is_noticed(tmp_path: Path):
  for number in (1, 2):
    _described(tmp_path / str(number), number)
  shutil.copy(tmp_path / "1" / "it.json", tmp_path / "2" / "it.json")
  with pytest.raises(DamagedError, match=r"not the one that was saved.*it\.json to have"):
    _read(tmp_path / "2")


def test_a_description_that_json_cannot_hold_leaves_the_earlier(tmp_path: Path):
  _described(tmp_path, 1)
  content = {"about": object()}
  path = files.as_path(tmp_path) / "it.json"
  with pytest.raises(InputError, match=r"it\.json\.about is of type object"):
    save_described(path, content, "weights", {"a": jnp.zeros(4)})
  assert _read(tmp_path) == (1, 1)
  assert json.loads((tmp_path / "it.json").read_text())["about"] == 1
