"""Names of classes and files: in one order, and such that they can be printed."""

import re
import unicodedata
from collections.abc import Sequence

_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # with what is left of bytes that are no UTF-8


def natural_key(name: str) -> tuple[object, ...]:
  """Sorts names as people do, by whatever file system they were written: 9 before 10."""
  parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name))
  numbers = [part.lstrip("0") for part in parts[1::2]]
  parts[1::2] = [(len(number), number) for number in numbers]
  return tuple(parts), name


def printable(name: str) -> str:
  """The name, with control characters and bytes that are no UTF-8 as \\n, \\xe9."""
  if name.isprintable():
    return name
  escaped = lambda c: c.encode("unicode_escape").decode()  # noqa: E731
  raw = lambda c: f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else escaped(c)  # noqa: E731
  return "".join(raw(c) if unicodedata.category(c) in _CONTROL else c for c in name)


def listed(names: Sequence[str], most: int = 5) -> str:
  """The names, or the first few and the number of the others."""
  shown = ", ".join(names[:most])
  more = len(names) - most
  return f"{shown} and {more} more" if more > 0 else shown
