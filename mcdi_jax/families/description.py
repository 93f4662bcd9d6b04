"""A family as JSON, beside a generator on disk."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mcdi_jax.families.family import TaskFamily
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError


def family_to_json(family: TaskFamily) -> dict[str, Any]:
  """Its name and its numbers."""
  return {"name": family.name, **dataclasses.asdict(family)}


def family_from_json(
  known: Mapping[str, type[TaskFamily]], content: Mapping[str, Any], prefix: str
) -> TaskFamily:
  """The family of that name among those known.

  Raises:
    InputError: a name or a field that is not known.
  """
  fields = dict(content)
  name = fields.pop("name", None)
  if name not in known:
    raise InputError(f"{prefix} is {name!r}: it must be one of {sorted(known)}")
  return from_mapping(known[name], fields, prefix)
