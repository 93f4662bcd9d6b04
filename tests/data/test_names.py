"""Names in one order, and such that they can be printed."""

import os
import random

import pytest

from mcdi_jax.data.names import listed, natural_key, printable


@pytest.mark.parametrize(
  "names",
  [
    [str(n) for n in range(30)],
    ["class 2", "class 10", "class 10 b", "class 100"],
    ["B", "a", "a1", "a1b", "a2", "a10"],
    ["", "1", "01", "1a", "2", "9" * 400, "1" + "0" * 400],
    ["x2/y10", "x2/y9", "x10/y1"],
  ],
)
def test_numbers_in_names_are_ordered_as_numbers(names: list[str]):
  """And the order is total: it does not depend on that in which names come."""
  expected = sorted(names, key=natural_key)
  if names[0] in ("0", "class 2", "B"):
    assert expected == names
  for seed in range(5):
    mixed = random.Random(seed).sample(names, len(names))
    assert sorted(mixed, key=natural_key) == expected


def test_big_and_leading_numbers_are_numbers():
  assert sorted(["10", "9", "007", "1"], key=natural_key) == ["1", "007", "9", "10"]
  assert natural_key("1") != natural_key("01")


@pytest.mark.parametrize(
  ("name", "shown"),
  [
    ("Öl, [red]\u00a0$x$", "Öl, [red]\u00a0$x$"),
    ("a\nb\tc\x1b", r"a\nb\tc\x1b"),
    (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
    ("\ud800", r"\ud800"),
    ("می\u200cخواهم", "می\u200cخواهم"),
  ],
)
def test_a_name_is_shown_as_it_is_but_for_what_cannot_be(name: str, shown: str):
  assert printable(name) == shown
  assert printable(shown) == shown
  shown.encode()


def test_a_long_list_is_cut_and_counted():
  names = [f"n{n}" for n in range(7)]
  assert listed(names[:5]) == "n0, n1, n2, n3, n4"
  assert listed(names) == "n0, n1, n2, n3, n4 and 2 more"
