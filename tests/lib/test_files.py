"""Files: all or nothing, damage is noticed, one holder a directory."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import stop_at

from mcdi_jax.lib import disk, files
from mcdi_jax.lib.checkpoint import save_tree
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

HOLDER = """
import sys
from mcdi_jax.lib import files
with files.exclusive(files.as_path(sys.argv[1])):
  print("held", flush=True)
  sys.stdin.read()
"""


def _flip(path: Path, place: int) -> None:
  content = bytearray(path.read_bytes())
  content[place] ^= 1
  path.write_bytes(bytes(content))


def test_as_path_is_absolute_and_leaves_buckets_alone(tmp_path: Path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert str(files.as_path("a/../b")) == str(tmp_path / "b")
  assert str(files.as_path("gs://bucket/b")) == "gs://bucket/b"


def test_a_write_is_all_or_nothing(tmp_path: Path, monkeypatch):
  """If writing breaks off, the file that was there is whole, under its name."""
  path = files.as_path(tmp_path / "deep" / "file")
  files.write_bytes(path, b"one")
  assert path.read_bytes() == b"one"

  def killed(descriptor: int) -> None:
    raise KeyboardInterrupt

  monkeypatch.setattr("os.fsync", killed)
  with pytest.raises(KeyboardInterrupt):
    files.write_bytes(path, b"two, longer than one")
  assert path.read_bytes() == b"one"
  monkeypatch.undo()
  files.write_bytes(path, b"two")
  assert path.read_bytes() == b"two"
  assert [f.name for f in path.parent.iterdir()] == ["file"]


def test_json_round_trip_and_its_errors(tmp_path: Path):
  path = files.as_path(tmp_path / "a.json")
  with pytest.raises(MissingError, match=r"a\.json"):
    files.read_json(path)
  files.write_json(path, {"b": [1, None], "a": 0.1})
  assert files.read_json(path) == {"b": [1, None], "a": 0.1}
  path.write_bytes(b"\xff{")
  with pytest.raises(DamagedError, match=r"a\.json"):
    files.read_json(path)


@pytest.mark.parametrize(
  ("value", "found"),
  [
    (np.float32(0.5), 0.5),
    (np.int64(2**40), 2**40),
    (np.bool_(True), True),
    (jnp.float32(0.5), 0.5),
    (jnp.bfloat16(0.5), 0.5),
    (jnp.arange(3), [0, 1, 2]),
    (np.ones((2, 1), np.float16), [[1.0], [1.0]]),
    ((1, (2,)), [1, [2]]),
    ({"a": {"b": np.int8(-1)}}, {"a": {"b": -1}}),
  ],
)
def test_numbers_of_numpy_and_jax_are_plain_in_json(tmp_path: Path, value: Any, found: Any):
  path = files.as_path(tmp_path / "a.json")
  files.write_json(path, {"x": value})
  assert files.read_json(path) == {"x": found}
  files.append_json(path.with_suffix(".jsonl"), {"x": value})
  assert files.read_json_lines(path.with_suffix(".jsonl")) == [{"x": found}]


@pytest.mark.parametrize(
  ("value", "said"),
  [
    ({"y": object()}, r"a\.json\.x\.y is of type object"),
    ([0, {1, 2}], r"a\.json\.x\[1\] is of type set"),
    ({3: 4}, r"a\.json\.x has the key 3"),
    (b"bytes", r"a\.json\.x is of type bytes"),
    (1j, r"a\.json\.x is of type complex"),
    (np.array(["a"]), r"a\.json\.x is of type ndarray"),
    (np.datetime64("2020-01-01"), r"a\.json\.x is of type datetime64"),
    (jax.random.key(0), r"a\.json\.x is of type "),
    (Path("p"), r"a\.json\.x is of type PosixPath"),
  ],
)
def test_what_json_cannot_hold_is_named_before_anything_is_written(
  tmp_path: Path, value: Any, said: str
):
  path = files.as_path(tmp_path / "a.json")
  for write in (files.write_json, files.append_json):
    with pytest.raises(InputError, match=said):
      write(path, {"x": value})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["[1, 2]", "3", '"a"', "null", '{"a": 1}', "{}"])
def test_json_of_another_shape_is_a_damaged_file(tmp_path: Path, content: str):
  path = files.as_path(tmp_path / "a.json")
  path.write_text(content)
  with pytest.raises(DamagedError, match=r"a\.json .*delete it"):
    files.read_json(path, "a", "b")
  path.write_text('{"a": 1, "b": 2, "c": 3}')
  assert files.read_json(path, "a", "b")["c"] == 3


def test_json_lines_are_appended(tmp_path: Path):
  path = files.as_path(tmp_path / "deep" / "a.jsonl")
  assert files.read_json_lines(path) == []
  files.append_json(path, {"a": 1})
  files.append_json_lines(path, [{"a": 2}, {"a": "ä\n"}])
  assert files.read_json_lines(path) == [{"a": 1}, {"a": 2}, {"a": "ä\n"}]
  assert len(path.read_text().splitlines()) == 3


def test_a_line_cut_short_is_named(tmp_path: Path):
  """A process killed while it appended leaves half a line behind."""
  path = files.as_path(tmp_path / "a.jsonl")
  path.write_text('{"a": 1}\n{"a": ')
  with pytest.raises(DamagedError, match=r"a\.jsonl"):
    files.read_json_lines(path)


@pytest.mark.parametrize("cut", [b'{"a": ', b'{"a": "\xc3', b"[1]", b"7", b"{"])
def test_a_log_goes_on_after_a_line_cut_short(tmp_path: Path, cut: bytes):
  """The next line begins afresh; what was cut is left out of a log, and an error in
  results."""
  path = files.as_path(tmp_path / "a.jsonl")
  files.append_json(path, {"a": 1})
  path.write_bytes(path.read_bytes() + cut)
  assert files.read_json_lines(path, tolerant=True) == [{"a": 1}]
  files.append_json(path, {"a": 2})
  files.append_json(path, {"a": 3})
  found = files.read_json_lines(path, tolerant=True)
  assert found == [{"a": 1}, {"a": 2}, {"a": 3}]
  assert path.read_bytes().count(b"\n") == 4
  with pytest.raises(DamagedError, match=r"a\.jsonl"):
    files.read_json_lines(path)


def _layouts(array: np.ndarray) -> dict[str, np.ndarray]:
  """The same kind of array as memory may hold it."""
  return {
    "as it is": array,
    "transposed": array.T,
    "reversed": array[::-1, ::-1],
    "a slice": array[:, 1:2],
    "broadcast": np.broadcast_to(array[0], (4, array.shape[1])),
    "Fortran": np.asfortranarray(array),
    "0-d": array[1, 1],
    "0-d array": np.asarray(array[1, 1]),
    "empty": array[:0],
  }


@pytest.mark.parametrize("dtype", files.DTYPES)
def test_every_dtype_and_layout_comes_back(tmp_path: Path, dtype: str):
  path = files.as_path(tmp_path / "a.safetensors")
  arrays = _layouts(np.random.default_rng(0).normal(size=(3, 4)).astype(dtype))
  files.write_arrays(path, arrays)
  found = files.read_arrays(path)
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
    assert found[name].tobytes() == array.tobytes(), name


def test_arrays_without_their_checksum_are_unfinished(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Stopped at any write, also of a second save: whole, or to be made again; never
  damaged, never the one's checksum beside the other's arrays."""
  number, stopped, seen = 0, True, set()
  while stopped:
    number += 1
    stopped, path = False, files.as_path(tmp_path / str(number) / "a.safetensors")
    files.write_checked_arrays(path, {"a": np.zeros(2)}, tasks=2)
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        files.write_checked_arrays(path, {"a": np.ones(2)})
      except KeyboardInterrupt:
        stopped = True
    if files.is_finished(path):
      seen.add(float(files.read_checked_arrays(path)["a"].sum()))
    else:
      with pytest.raises(MissingError):
        files.read_checked_arrays(path)
      seen.add(None)
  assert seen == {0.0, None, 2.0}


def test_arrays_come_back_exactly(tmp_path: Path):
  path = files.as_path(tmp_path / "a.safetensors")
  arrays = {
    "classes": np.arange(6, dtype=np.int32).reshape(2, 3),
    "weights/head/kernel": np.float32([[0.1, -0.0], [np.inf, 1e-40]]),
  }
  digest = files.write_arrays(path, arrays)
  assert digest == files.sha256(path)
  found = files.read_arrays(path, digest)
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert found[name].dtype == array.dtype
    assert found[name].tobytes() == array.tobytes()


def test_a_flipped_bit_is_noticed(tmp_path: Path):
  """In the data, which safetensors itself does not notice, and in the header."""
  path = files.as_path(tmp_path / "a.safetensors")
  digest = files.write_arrays(path, {"a": np.zeros(4, np.float32)})
  _flip(path, -1)
  with pytest.raises(DamagedError, match=r"a\.safetensors is damaged"):
    files.read_arrays(path, digest)
  assert files.read_arrays(path)["a"][-1] != 0  # without a checksum it passes
  files.write_arrays(path, {"a": np.zeros(4, np.float32)})
  _flip(path, 8)
  with pytest.raises(DamagedError, match=r"a\.safetensors is damaged"):
    files.read_arrays(path)


def test_missing_arrays_are_named(tmp_path: Path):
  with pytest.raises(MissingError, match=r"a\.safetensors"):
    files.read_arrays(files.as_path(tmp_path / "a.safetensors"))


def test_a_second_process_is_refused_and_the_lock_goes_with_the_first(tmp_path: Path):
  """Released when the holder leaves the block, and when it is killed."""
  directory = files.as_path(tmp_path / "run")
  command = [sys.executable, "-c", HOLDER, str(directory)]
  pipe = subprocess.PIPE
  holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
  assert holder.stdout.readline() == "held\n"
  refused = pytest.raises(InputError, match=f"{directory} is in use by another process")
  with refused, files.exclusive(directory):
    pass
  holder.kill()
  holder.communicate()
  with files.exclusive(directory):
    second = subprocess.run(command, input="", capture_output=True, text=True)
  assert second.returncode != 0
  assert "is in use by another process" in second.stderr
  with files.exclusive(directory):  # free again
    pass


def test_the_second_waits_if_told_to(tmp_path: Path):
  """Says so in one line, and has the directory when the first lets it go."""
  directory = files.as_path(tmp_path / "cache")
  command = [sys.executable, "-c", HOLDER, str(directory)]
  pipe = subprocess.PIPE
  first = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
  assert first.stdout.readline() == "held\n"
  waiter = [sys.executable, "-c", HOLDER.replace("1])", "1]), wait=True"), str(directory)]
  second = subprocess.Popen(waiter, stdin=pipe, stdout=pipe, text=True)
  assert "waiting for the process that works in" in second.stdout.readline()
  first.kill()
  first.communicate()
  assert second.stdout.readline() == "held\n"
  second.communicate("")
  assert second.returncode == 0
  assert not list(tmp_path.rglob("*.lock"))


def test_a_lock_whose_file_was_removed_is_none(tmp_path: Path, monkeypatch: Any):
  """Between opening and locking the file another process may have let it go, file and
  all: locking what it has opened would keep nobody out."""
  import fcntl

  directory, flock, count = files.as_path(tmp_path), fcntl.flock, []

  def slow(f: Any, how: int) -> None:
    if not count:
      (tmp_path / ".lock").unlink()
    count.append(f)
    flock(f, how)

  monkeypatch.setattr(fcntl, "flock", slow)
  with files.exclusive(directory):
    assert (tmp_path / ".lock").exists()
    with pytest.raises(InputError, match="in use"), files.exclusive(directory):
      pass
  assert len(count) == 3


def test_a_bucket_has_no_locks():
  with files.exclusive(files.as_path("gs://bucket/run")):
    pass


def _refusals(path: Any) -> dict[str, Any]:
  return {
    "bytes": lambda: files.write_bytes(path / "f", b"x"),
    "json": lambda: files.write_json(path / "f", {}),
    "append": lambda: files.append_json(path / "f", {}),
    "folder": lambda: disk.mkdir(path / "f"),
    "lock": lambda: files.exclusive(path / "f").__enter__(),
    "arrays": lambda: files.write_arrays(path / "f", {}),
    "tree": lambda: save_tree(path / "f", {"a": np.ones(2)}),
  }


@pytest.mark.parametrize("name", _refusals(Path()))
def test_a_file_in_the_way_is_one_sentence(tmp_path: Path, name: str):
  """A path with a file for a folder."""
  (tmp_path / "file").touch()
  said = rf"cannot write {tmp_path}/file.* \(.*\): something of that name is in the way"
  with pytest.raises(InputError, match=said):
    _refusals(files.as_path(tmp_path / "file"))[name]()


def test_a_folder_in_the_way_is_one_sentence(tmp_path: Path):
  path = files.as_path(tmp_path)
  for write in (files.write_json, files.append_json):
    with pytest.raises(InputError, match=r"cannot write .*directory.*name another place"):
      write(path, {})
  with pytest.raises(InputError, match="cannot read .*directory"):
    files.read_json(path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("code", "remedy"),
  [
    (errno.ENOSPC, "free some space"),
    (errno.EROFS, "name a place that you may write to"),
    (errno.EACCES, "name a place that you may write to"),
    (errno.EIO, "name another place"),
  ],
)
def test_what_the_system_refuses_is_one_sentence(
  tmp_path: Path, monkeypatch: Any, code: int, remedy: str
):
  """And no half-written file takes the room."""
  path = files.as_path(tmp_path / "a")
  files.write_bytes(path, b"one")

  def refuse(descriptor: int) -> None:
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr("os.fsync", refuse)
  with pytest.raises(InputError, match=rf"cannot write {path} \(.*\): {remedy}"):
    files.write_bytes(path, b"two")
  assert [f.read_bytes() for f in tmp_path.iterdir()] == [b"one"]


def test_a_process_kills_itself_at_the_write_that_is_named(tmp_path: Path):
  """MCDI_STOP_AT_WRITE=n: before a rename the earlier file is there, after it the new."""
  program = (
    "import sys; from mcdi_jax.lib import files\n"
    "files.write_bytes(files.as_path(sys.argv[1]), b'two')"
  )
  path = tmp_path / "a"
  for number, (code, content) in enumerate(
    [(-signal.SIGKILL, b"one"), (-signal.SIGKILL, b"two"), (0, b"two")], 1
  ):
    path.write_bytes(b"one")
    ended = subprocess.run(
      [sys.executable, "-c", program, str(path)],
      env={**os.environ, "MCDI_STOP_AT_WRITE": str(number)},
    )
    assert (ended.returncode, path.read_bytes()) == (code, content)


def test_a_config_on_disk_is_plain_json(tmp_path: Path):
  path = files.as_path(tmp_path / "a.json")
  files.write_json(path, {"ways": (5, 20)})
  assert json.loads(Path(path).read_text()) == {"ways": [5, 20]}
