"""The bank: made once, continued, checked; a shard is a function of its number."""

import errno
import threading
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import stop_at

from mcdi_jax.lib import disk, files
from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.preparation import Bank, Trajectory, bank, open_bank
from mcdi_jax.preparation.bank import bank_key, task_key

CONTENT = {"network": "toy", "rate": 0.1}
FORM = {"seed": 3, "tasks": 10, "shard_tasks": 4}  # shards of 4, 4 and 2


def _prepare(key: jax.Array, items: Any) -> tuple[jax.Array, Trajectory]:
  """A toy: random classes, and weights [k = 2] that depend on key and items."""
  k_classes, k_weights = jax.random.split(key)
  classes = jax.random.randint(k_classes, (3,), 0, 9)
  kernel = items * jax.random.normal(k_weights, (2, 5))
  head = {"kernel": kernel, "bias": kernel.sum(1)}
  return classes, Trajectory({"head": head}, kernel.sum(1))


def _open(directory: Path, prepare: Any = _prepare, **changes: Any) -> Bank:
  settings = {"content": CONTENT, **FORM, **changes}
  content = settings.pop("content")
  place = files.as_path(directory)
  return open_bank(place, prepare, jnp.arange(5.0), content, **settings).read()[0]


def _forbidden(key: jax.Array, items: Any) -> Any:
  raise AssertionError("a task was prepared")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bank]:
  directory = tmp_path_factory.mktemp("bank") / "b"
  return directory, _open(directory)


def _copy(whole: tuple[Path, Bank], to: Path) -> Path:
  for f in whole[0].iterdir():
    if f.is_file():
      to.mkdir(exist_ok=True)
      (to / f.name).write_bytes(f.read_bytes())
  return to


def test_tasks_are_functions_of_seed_and_number(whole: tuple[Path, Bank]):
  """Also in the last, smaller shard. To rounding: here they are not compiled together."""
  made = whole[1]
  assert made.size == 10
  assert made.tasks.shape == (10, 3)
  assert made.weights["head"]["kernel"].shape == (10, 2, 5)
  for number in (0, 5, 9):
    key = task_key(bank_key(FORM["seed"]), number)
    classes, path = _prepare(key, jnp.arange(5.0))
    np.testing.assert_array_equal(made.tasks[number], classes)
    found = jax.tree.map(lambda a, n=number: a[n], made.weights)
    chex.assert_trees_all_close(found, path.weights, rtol=1e-6, atol=1e-6)


def test_a_bank_is_made_once(whole: tuple[Path, Bank]):
  """A second opening prepares nothing, writes nothing, and reads the same."""
  directory, made = whole
  before = {f.name: f.stat().st_mtime_ns for f in directory.iterdir()}
  assert sum(name.endswith(".safetensors") for name in before) == 3
  again = _open(directory, _forbidden)
  chex.assert_trees_all_equal(again, made, strict=True)
  assert {f.name: f.stat().st_mtime_ns for f in directory.iterdir()} == before


@pytest.mark.parametrize("state", ["gone", "no checksum", "stale lock", "one left"])
def test_an_interrupted_bank_is_continued(
  whole: tuple[Path, Bank], tmp_path: Path, state: str
):
  """Bit for bit as if it had never been interrupted; what is there is not made again."""
  directory = _copy(whole, tmp_path / "b")
  left = {"gone": [1], "no checksum": [0], "stale lock": [2], "one left": [1, 2]}[state]
  for shard in left:
    (directory / f"shard-{shard:05d}.json").unlink()
    if state != "no checksum":
      (directory / f"shard-{shard:05d}.safetensors").unlink()
    if state == "stale lock":  # a process that held it was killed
      (directory / f"shard-{shard:05d}.lock").touch()
  kept = {f.name: f.stat().st_mtime_ns for f in directory.glob("shard-*.safetensors")}
  chex.assert_trees_all_equal(_open(directory), whole[1], strict=True)
  for name, time in kept.items():
    if state != "no checksum":
      assert (directory / name).stat().st_mtime_ns == time
  for shard in range(3):
    name = f"shard-{shard:05d}.safetensors"
    assert (directory / name).read_bytes() == (whole[0] / name).read_bytes()


def test_two_processes_fill_one_bank(
  whole: tuple[Path, Bank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
  """While this one is at its first shard, which it holds, another makes the two others
  and waits for it: each shard is made once, and both read the same as one alone would."""
  directory, made, others, write = tmp_path / "b", [], [], bank._write_shard
  waiting = threading.Event()

  def slow(place: Any, shard: int, *rest: Any) -> None:
    made.append((threading.current_thread().name, shard))
    if len(made) == 1:
      other = threading.Thread(target=lambda: others.append(_open(directory)), name="b")
      other.start()
      assert waiting.wait(60)
      write(place, shard, *rest)
      others.insert(0, other)
    else:
      write(place, shard, *rest)

  said = lambda text: waiting.set() if "waiting" in text else None  # noqa: E731
  monkeypatch.setattr(bank, "_write_shard", slow)
  monkeypatch.setattr(disk.CONSOLE, "print", said)
  mine = _open(directory)
  others[0].join(60)
  assert made[0] == ("MainThread", 0)
  assert sorted(made[1:]) == [("b", 1), ("b", 2)]
  chex.assert_trees_all_equal(mine, whole[1], strict=True)
  chex.assert_trees_all_equal(others[1], whole[1], strict=True)
  assert not list(directory.glob("*.lock"))


def test_a_bank_stopped_at_any_write_is_continued(
  whole: tuple[Path, Bank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Whatever lies there then, the next opening ends with the same files."""
  number, stopped = 0, True
  while stopped:
    number += 1
    stopped, directory = False, tmp_path / str(number)
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        _open(directory)
      except KeyboardInterrupt:
        stopped = True
    chex.assert_trees_all_equal(_open(directory), whole[1], strict=True)
    names = sorted(f.name for f in directory.iterdir())
    assert names == sorted(f.name for f in whole[0].iterdir())
  assert number > 12


@pytest.mark.parametrize("content", ["[1]", '{"hash": 3}', '{"sha256"', '"text"'])
@pytest.mark.parametrize("name", ["manifest.json", "shard-00001.json"])
def test_json_of_another_shape_is_damage(
  whole: tuple[Path, Bank], tmp_path: Path, name: str, content: str
):
  directory = _copy(whole, tmp_path / "b")
  (directory / name).write_text(content)
  with pytest.raises(DamagedError, match=rf"{name}.*delete it"):
    _open(directory)


def test_a_full_disk_is_one_sentence_and_the_bank_goes_on(
  whole: tuple[Path, Bank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  directory, left = tmp_path / "b", [3]

  def full(descriptor: int) -> None:
    left[0] -= 1
    if left[0] < 0:
      raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as m:
    m.setattr("os.fsync", full)
    said = r"cannot write .*shard-00001\.safetensors \(No space left.*free some space"
    with pytest.raises(InputError, match=said):
      _open(directory)
  chex.assert_trees_all_equal(_open(directory), whole[1], strict=True)
  assert sorted(f.name for f in directory.iterdir()) == sorted(
    f.name for f in whole[0].iterdir()
  )


def test_a_damaged_shard_is_named(whole: tuple[Path, Bank], tmp_path: Path):
  directory = _copy(whole, tmp_path / "b")
  path = directory / "shard-00001.safetensors"
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(bytes(content))
  with pytest.raises(DamagedError, match=r"shard-00001\.safetensors"):
    _open(directory)
  path.unlink()  # the remedy that the message gives
  chex.assert_trees_all_equal(_open(directory), whole[1], strict=True)


@pytest.mark.parametrize(
  ("name", "change"),
  [
    ("hash", {"content": {**CONTENT, "rate": 0.2}}),
    ("tasks", {"tasks": 11}),
    ("shard_tasks", {"shard_tasks": 5}),
  ],
)
def test_a_bank_of_other_content_is_refused(
  whole: tuple[Path, Bank], name: str, change: dict[str, Any]
):
  with pytest.raises(InputError, match=rf"bank .*another {name} .*config\.bank_dir"):
    _open(whole[0], _forbidden, **change)


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path):
  def diverges(key: jax.Array, items: Any) -> Any:
    classes, path = _prepare(key, items)
    weights = jax.tree.map(lambda w: w / 0.0, path.weights)
    return classes, Trajectory(weights, path.losses)

  with pytest.raises(InputError, match=r"not finite: lower config\.preparation\.rate"):
    _open(tmp_path / "b", diverges)
  assert not list((tmp_path / "b").glob("*.safetensors"))
