"""The tensors of a PyTorch file, without PyTorch and without running what is in it.

A pickle can name any function to be called. Here a name is looked up in a table of the few
that a state_dict of tensors needs, and any other is refused: the one exception to "never
a pickle". Both formats are read: the zip of today, and the one before 2020.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike

_MAGIC = 0x1950A86A20F9469CFC6C  # of the format before 2020
_DTYPES = {
  "FloatStorage": np.float32,
  "DoubleStorage": np.float64,
  "HalfStorage": np.float16,
  "BFloat16Storage": jnp.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}


class _Storage:
  """A line of numbers, which in the old format follows the pickle that speaks of it."""

  def __init__(self, dtype: Any, size: int):
    self.dtype, self.size = np.dtype(dtype), size
    self.bytes: bytes | None = None


class _Dtype(NamedTuple):
  dtype: Any


class _Tensor(NamedTuple):
  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self) -> np.ndarray:
    numbers = (self.offset, *self.shape, *self.strides)
    whole = all(isinstance(n, int) and n >= 0 for n in numbers)
    if not whole or len(self.shape) != len(self.strides) or self.storage.bytes is None:
      raise ValueError("a tensor without its numbers")
    reach = zip(self.shape, self.strides, strict=True)
    last = self.offset + sum((n - 1) * s for n, s in reach)
    many = math.prod(self.shape) > self.storage.size  # strides of 0 repeat numbers
    if many or (math.prod(self.shape) and last >= self.storage.size):
      raise ValueError("a tensor that reaches beyond its storage")
    dtype = self.storage.dtype
    line = np.frombuffer(self.storage.bytes, dtype, self.storage.size)[self.offset :]
    steps = tuple(s * dtype.itemsize for s in self.strides)
    return np.lib.stride_tricks.as_strided(line, self.shape, steps).copy()


class _Rebuild:
  """Callable, and nothing that a pickle could change."""

  __slots__ = ()

  def __call__(
    self, storage: Any, offset: int, shape: Any, strides: Any, *rest: Any
  ) -> _Tensor:
    del rest  # requires_grad, hooks
    if not isinstance(storage, _Storage):
      raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Reader(pickle.Unpickler):
  """Knows a state_dict's names, and no other."""

  def __init__(self, stream: Any, name: str, storages: dict[str, _Storage]):
    super().__init__(stream, encoding="utf-8")
    self.name, self.storages = name, storages

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
      return OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
      return _Rebuild()
    if module == "torch" and name in _DTYPES:
      return _Dtype(_DTYPES[name])
    raise InputError(
      f"{self.name} names {module}.{name}, which could be any program: save the tensors "
      "alone, as torch.save(model.state_dict(), …) does, or as safetensors"
    )

  def persistent_load(self, pid: Any) -> _Storage:
    kind, dtype, key, _, size, *_ = pid
    if kind != "storage" or not isinstance(dtype, _Dtype):
      raise pickle.UnpicklingError("a reference to something else than numbers")
    return self.storages.setdefault(str(key), _Storage(dtype.dtype, int(size)))


def read_torch(path: PathLike) -> dict[str, np.ndarray]:
  """The tensors of a state_dict, by name; one that lies under `state_dict` or `model` is
  found there. What is no tensor is left out.

  Raises:
    MissingError, DamagedError: no such file, or it cannot be read.
    InputError: it names anything but a state_dict's tensors.
  """
  path = files.as_path(path)
  if not path.exists():
    raise MissingError(f"there is no file {path}: name a PyTorch checkpoint")
  content = files.read_bytes(path)
  reader = _from_zip if content[:2] == b"PK" else _from_stream
  found = _guarded(lambda: reader(content, path.name), path.name)
  for name in ("state_dict", "model"):
    if isinstance(found, dict) and isinstance(dict.get(found, name), dict):
      found = dict.get(found, name)
  if not isinstance(found, dict):
    raise InputError(f"{path.name} is a {type(found).__name__}: save a state_dict")
  tensors = {str(n): t for n, t in dict.items(found) if isinstance(t, _Tensor)}
  return _guarded(lambda: {n: t.array() for n, t in tensors.items()}, path.name)


def _guarded(read: Callable[[], Any], name: str) -> Any:
  """Whatever a damaged file may do."""
  try:
    return read()
  except InputError:
    raise
  except Exception as error:
    raise DamagedError(f"{name} is no PyTorch file that can be read: {error}") from None


def _from_zip(content: bytes, name: str) -> Any:
  storages: dict[str, _Storage] = {}
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    places = [n for n in archive.namelist() if n.endswith("/data.pkl")]
    if len(places) != 1:
      raise ValueError("it has no data.pkl")
    place = places[0]
    found = _Reader(io.BytesIO(archive.read(place)), name, storages).load()
    folder = place.removesuffix("data.pkl")
    for key, storage in storages.items():
      own = archive.getinfo(f"{folder}data/{key}")
      if own.file_size != storage.size * storage.dtype.itemsize:
        raise ValueError("a storage of another size than was said")
      storage.bytes = archive.read(own)
  return found


def _from_stream(content: bytes, name: str) -> Any:
  stream, storages = io.BytesIO(content), {}
  read = lambda: _Reader(stream, name, storages).load()  # noqa: E731
  if read() != _MAGIC:
    raise ValueError("it begins with something else")
  read(), read()  # the version, and sizes of numbers
  found = read()
  for key in read():
    storage = storages[str(key)]
    (size,) = struct.unpack("<q", stream.read(8))
    if size != storage.size:
      raise ValueError("a storage of another size than was said")
    storage.bytes = stream.read(size * storage.dtype.itemsize)
  return found
