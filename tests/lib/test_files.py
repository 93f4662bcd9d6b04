"""Files: all or nothing, damage is noticed, one holder a directory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mcdi_jax.lib import files
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


def test_a_config_on_disk_is_plain_json(tmp_path: Path):
  path = files.as_path(tmp_path / "a.json")
  files.write_json(path, {"ways": (5, 20)})
  assert json.loads(Path(path).read_text()) == {"ways": [5, 20]}
