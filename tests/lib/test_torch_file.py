"""PyTorch files without PyTorch: both formats, and nothing that is no tensor."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.torch_file import read_torch

RNG = np.random.default_rng(0)
TENSORS = {
  "a.weight": RNG.normal(size=(3, 4)).astype(np.float32),
  "b": RNG.integers(0, 9, (5,)),
  "half": RNG.normal(size=(2, 2)).astype(np.float16),
  "scalar": np.asarray(7, np.int64),
}
STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}


class Tensor:
  """Written as `torch.save` writes one: a view of a storage."""

  def __init__(self, array: np.ndarray, key: str, line: np.ndarray, offset: int = 0):
    self.array, self.key, self.line, self.offset = array, key, line, offset


class Writer(pickle.Pickler):
  def __init__(self, stream: Any, torch: Any, *, legacy: bool):
    super().__init__(stream, protocol=2)
    self.torch, self.legacy = torch, legacy

  def persistent_id(self, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
      return None
    key, kind = str(id(value)), getattr(self.torch, STORAGES[str(value.dtype)])
    rest = (None,) if self.legacy else ()
    return ("storage", kind, key, "cpu", value.size, *rest)

  def reducer_override(self, value: Any) -> Any:
    if not isinstance(value, Tensor):
      return NotImplemented
    strides = tuple(s // value.array.itemsize for s in value.array.strides)
    given = (value.line, value.offset, value.array.shape, strides, False, OrderedDict())
    return self.torch._utils._rebuild_tensor_v2, given


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
  """Names to be pickled by, which nothing calls."""
  module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  for name in STORAGES.values():
    setattr(module, name, type(name, (), {"__module__": "torch"}))
  exec("def _rebuild_tensor_v2(*_): pass", utils.__dict__)
  utils._rebuild_tensor_v2.__module__ = "torch._utils"  # type: ignore[attr-defined]
  module._utils = utils  # type: ignore[attr-defined]
  monkeypatch.setitem(sys.modules, "torch", module)
  monkeypatch.setitem(sys.modules, "torch._utils", utils)
  return module


def lines_of(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
  found = {}
  for name, array in tensors.items():
    line = np.ascontiguousarray(array).reshape(-1)
    found[name] = Tensor(array, name, line)
  return found


def legacy(path: Path, torch: Any, content: Any, lines: list[np.ndarray]) -> Path:
  stream = io.BytesIO()
  for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
    pickle.dump(head, stream, protocol=2)
  Writer(stream, torch, legacy=True).dump(content)
  pickle.dump([str(id(line)) for line in lines], stream, protocol=2)
  for line in lines:
    stream.write(struct.pack("<q", line.size) + line.tobytes())
  path.write_bytes(stream.getvalue())
  return path


def zipped(path: Path, torch: Any, content: Any, lines: list[np.ndarray]) -> Path:
  stream = io.BytesIO()
  Writer(stream, torch, legacy=False).dump(content)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("net/data.pkl", stream.getvalue())
    for line in lines:
      archive.writestr(f"net/data/{id(line)}", line.tobytes())
  return path


@pytest.mark.parametrize("write", [legacy, zipped])
@pytest.mark.parametrize("nested", [False, True])
def test_tensors_come_back_as_they_were(
  tmp_path: Path, torch: Any, write: Any, nested: bool
):
  tensors = lines_of(TENSORS)
  content: Any = OrderedDict({**tensors, "epoch": 3})
  content = {"state_dict": content, "epoch": 3} if nested else content
  path = write(tmp_path / "x.pth", torch, content, [t.line for t in tensors.values()])
  found = read_torch(path)
  assert set(found) == set(TENSORS)
  for name, array in TENSORS.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("write", [legacy, zipped])
def test_views_share_a_storage(tmp_path: Path, torch: Any, write: Any):
  """A transposed one, and a part that begins later."""
  line = np.arange(12, dtype=np.float32)
  turned = Tensor(line.reshape(3, 4).T, "t", line)
  part = Tensor(line[4:8].reshape(2, 2), "p", line, offset=4)
  path = write(tmp_path / "x.pth", torch, {"t": turned, "p": part}, [line])
  found = read_torch(path)
  np.testing.assert_array_equal(found["t"], line.reshape(3, 4).T)
  np.testing.assert_array_equal(found["p"], [[4, 5], [6, 7]])


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_view_beyond_its_storage_is_refused(tmp_path: Path, torch: Any, write: Any):
  line = np.arange(12, dtype=np.float32)
  beyond = Tensor(np.zeros((3, 4), np.float32), "t", line, offset=1)
  path = write(tmp_path / "x.pth", torch, {"t": beyond}, [line])
  with pytest.raises(DamagedError, match="beyond its storage"):
    read_torch(path)


class Evil:
  def __reduce__(self) -> Any:
    return print, ("run",)


def test_small_files_do_not_become_large_ones(tmp_path: Path, torch: Any):
  """By strides of 0, or by a storage of another size than is said."""
  line = np.zeros(4, np.float32)
  wide = np.lib.stride_tricks.as_strided(line, (10**6, 4), (0, 4))
  path = zipped(tmp_path / "x.pth", torch, {"t": Tensor(wide, "t", line)}, [line])
  with pytest.raises(DamagedError, match="beyond its storage"):
    read_torch(path)
  with zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as archive:
    stream = io.BytesIO()
    Writer(stream, torch, legacy=False).dump({"t": Tensor(line, "t", line)})
    archive.writestr("net/data.pkl", stream.getvalue())
    archive.writestr(f"net/data/{id(line)}", bytes(10**6))
  with pytest.raises(DamagedError, match="another size than was said"):
    read_torch(tmp_path / "y.pth")


@pytest.mark.parametrize("write", [legacy, zipped])
def test_any_other_name_is_refused_and_not_run(
  tmp_path: Path, torch: Any, write: Any, capsys: pytest.CaptureFixture
):
  path = write(tmp_path / "x.pth", torch, {"a": Evil()}, [])
  with pytest.raises(InputError, match="x.pth names __builtin__.print, which could be"):
    read_torch(path)
  assert "run" not in capsys.readouterr().out


def test_other_files_are_told(tmp_path: Path, torch: Any):
  with pytest.raises(MissingError, match="no file"):
    read_torch(tmp_path / "none.pth")
  (tmp_path / "text.pth").write_text("weights")
  with pytest.raises(DamagedError, match="text.pth is no PyTorch file"):
    read_torch(tmp_path / "text.pth")
  whole = zipped(tmp_path / "x.pth", torch, {}, []).read_bytes()
  (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
  with pytest.raises(DamagedError, match="cut.pth is no PyTorch file"):
    read_torch(tmp_path / "cut.pth")
  with pytest.raises(InputError, match="x.pth is a list: save a state_dict"):
    read_torch(zipped(tmp_path / "x.pth", torch, [1, 2], []))
