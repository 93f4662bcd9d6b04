"""Configs: what may be given for a setting, and what a hash of them means."""

import dataclasses
from typing import Any, Literal

import pytest

from mcdi_jax.lib.config import check, content_hash, from_mapping, to_config_dict
from mcdi_jax.lib.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner:
  rate: float = 0.5
  steps: int = 3
  ways: tuple[int, ...] = (5,)
  deep: bool = True


@dataclasses.dataclass(frozen=True)
class Outer:
  inner: Inner = Inner()
  kind: Literal["a", "b"] = "a"
  maybe: Literal["x", "y"] | None = None
  number: int | None = 7
  name: str = ""


def test_what_is_not_given_keeps_its_default():
  assert from_mapping(Outer, {}) == Outer()
  given = {"inner": {"steps": 9}, "name": "n"}
  assert from_mapping(Outer, given) == Outer(inner=Inner(steps=9), name="n")


def test_a_config_survives_config_dict():
  config = Outer(inner=Inner(ways=(5, 20)), maybe="y", number=None)
  assert from_mapping(Outer, to_config_dict(config).to_dict()) == config


@pytest.mark.parametrize(
  ("values", "named"),
  [
    ({"inner": {"stepz": 1}}, "config.inner.stepz is not a.*config.inner.steps"),
    ({"nam": "x"}, "config.nam is not a.*config.name"),
    ({"qqqq": 1}, "config.qqqq is not a.*kind"),
  ],
)
def test_an_unknown_field_suggests_the_nearest_name(values: Any, named: str):
  with pytest.raises(InputError, match=named):
    from_mapping(Outer, values)


@pytest.mark.parametrize(
  ("values", "named"),
  [
    ({"inner": {"steps": 1.5}}, "config.inner.steps is 1.5: it must be of type int"),
    ({"inner": {"steps": True}}, "config.inner.steps"),
    ({"inner": {"steps": None}}, "config.inner.steps"),
    ({"inner": {"rate": "fast"}}, "config.inner.rate"),
    ({"inner": {"rate": True}}, "config.inner.rate"),
    ({"inner": {"ways": 5}}, "config.inner.ways is 5: it must be a tuple"),
    ({"inner": {"ways": (5, "6")}}, "config.inner.ways"),
    ({"inner": {"deep": 1}}, "config.inner.deep"),
    ({"inner": 3}, "config.inner is 3: it must be a group"),
    ({"kind": "c"}, "config.kind is 'c': choose one of"),
    ({"kind": None}, "config.kind"),
    ({"maybe": "z"}, "config.maybe"),
    ({"number": "7"}, "config.number"),
    ({"name": 3}, "config.name"),
  ],
)
def test_a_wrong_type_is_named(values: Any, named: str):
  with pytest.raises(InputError, match=named):
    from_mapping(Outer, values)


def test_ints_serve_as_floats_lists_as_tuples_and_none_where_allowed():
  found = from_mapping(
    Outer, {"inner": {"rate": 2, "ways": [5, 20]}, "maybe": None, "number": None}
  )
  assert found == Outer(inner=Inner(rate=2.0, ways=(5, 20)), number=None)
  assert isinstance(found.inner.rate, float)
  assert isinstance(found.inner.ways, tuple)


def test_check_names_setting_value_and_remedy():
  check(True, "config.a", 1, "fine")
  with pytest.raises(InputError, match=r"^config\.a is 1: give 2$"):
    check(False, "config.a", 1, "give 2")


def test_content_hash_is_stable():
  """Pinned: caches on disk are found under this hash by later versions too."""
  assert content_hash({"b": 1, "a": [2]}) == content_hash({"a": (2,), "b": 1})
  assert content_hash(Inner()) == content_hash(dataclasses.asdict(Inner()))
  assert content_hash({"group": Inner()}) == content_hash(
    {"group": dataclasses.asdict(Inner())}
  )
  assert content_hash({}).startswith("44136fa355b3678a")  # sha256 of "{}"
  assert len(content_hash({})) == 64


def test_content_hash_feels_every_field():
  changed = [
    Outer(inner=Inner(rate=0.25)),
    Outer(inner=Inner(ways=(5, 5))),
    Outer(maybe="x"),
    Outer(number=None),
    Outer(name="n"),
  ]
  assert len({content_hash(c) for c in [Outer(), *changed]}) == len(changed) + 1


def test_what_json_cannot_hold_has_no_hash():
  with pytest.raises(TypeError, match="has no place in a hash"):
    content_hash({"a": object()})
