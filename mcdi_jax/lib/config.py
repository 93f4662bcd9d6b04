"""Frozen dataclasses inside, `ConfigDict` for flags outside: the two conversions."""

import dataclasses
import difflib
import hashlib
import json
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import ml_collections
import numpy as np

from mcdi_jax.lib.errors import InputError

C = TypeVar("C")


def to_config_dict(config: Any) -> ml_collections.ConfigDict:
  """A frozen config as a `ConfigDict`, so that flags can override its fields."""
  return ml_collections.ConfigDict(dataclasses.asdict(config))


def from_mapping(cls: type[C], values: Mapping[str, Any], prefix: str = "config") -> C:
  """Builds the frozen dataclass `cls`; fields that are not given keep their default.

  Raises:
    InputError: an unknown field (the nearest name is suggested) or a wrong type.
  """
  hints = typing.get_type_hints(cls)
  fields = {}
  for name, value in values.items():
    path = f"{prefix}.{name}"
    if name not in hints:
      near = difflib.get_close_matches(name, hints, n=1)
      remedy = f"did you mean {prefix}.{near[0]}?" if near else f"it has {sorted(hints)}"
      raise InputError(f"{path} is not a setting: {remedy}")
    fields[name] = _coerce(hints[name], value, path)
  return cls(**fields)


def _coerce(hint: Any, value: Any, path: str) -> Any:
  """`value` as the annotated type: ints serve as floats, lists as tuples."""
  if dataclasses.is_dataclass(hint):
    if isinstance(value, hint):
      return value
    if not isinstance(value, Mapping):
      raise InputError(f"{path} is {value!r}: it must be a group of settings")
    return from_mapping(hint, value, path)
  if typing.get_origin(hint) in (types.UnionType, typing.Union):  # X | None
    return None if value is None else _coerce(hint.__args__[0], value, path)
  if typing.get_origin(hint) is typing.Literal:
    if value not in hint.__args__:
      raise InputError(f"{path} is {value!r}: choose one of {list(hint.__args__)}")
    return value
  if typing.get_origin(hint) is tuple:
    if not isinstance(value, (tuple, list)):
      raise InputError(f"{path} is {value!r}: it must be a tuple, such as (5,)")
    return tuple(_coerce(hint.__args__[0], v, path) for v in value)
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
    raise InputError(f"{path} is {value!r}: it must be of type {hint.__name__}")
  return value


def check(condition: bool, setting: str, value: Any, remedy: str) -> None:
  """Raises `InputError("<setting> is <value>: <remedy>")` unless the condition holds."""
  if not condition:
    raise InputError(f"{setting} is {value!r}: {remedy}")


def whole(setting: str, value: Any, *, least: int) -> int:
  """A whole number of at least `least`, of any type that counts, such as numpy's.

  Raises:
    InputError: it is none.
  """
  remedy = f"give a whole number of at least {least}"
  try:
    found = operator.index(value)
  except TypeError:
    raise InputError(f"{setting} is {value!r}: {remedy}") from None
  check(found >= least, setting, value, remedy)
  return found


def finite(setting: str, value: Any) -> None:
  """Raises `InputError` where a number that is known is none, or not finite; traced ones
  pass. In numpy, as jax would trace what it looks at inside a `jit`."""
  if isinstance(value, jax.core.Tracer):
    return
  try:
    good = np.ndim(value) == 0 and bool(np.isfinite(value))
  except (TypeError, ValueError):
    good = False
  check(good, setting, value, "give a finite number")


def chosen(config: Any) -> dict[str, Any]:
  """The fields of a dataclass that are not at their default, those of dataclasses in it
  too: what a field that is new leaves as it was."""
  found = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if value != field.default:
      found[field.name] = chosen(value) if dataclasses.is_dataclass(value) else value
  return found


def content_hash(content: Any) -> str:
  """sha256 (64 hex digits) of a JSON-able value; dataclasses count by their fields."""
  if dataclasses.is_dataclass(content):
    content = dataclasses.asdict(content)
  text = json.dumps(content, sort_keys=True, default=_jsonable)
  return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: Any) -> Any:
  if dataclasses.is_dataclass(value):
    return dataclasses.asdict(value)
  raise TypeError(f"{type(value).__name__} has no place in a hash")
