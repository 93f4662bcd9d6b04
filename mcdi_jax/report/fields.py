"""Images, and what generated fields hold of them."""

from typing import Any

import numpy as np

from mcdi_jax.report.markup import Html, note, section, tag
from mcdi_jax.report.tasks import picture

Arrays = dict[str, np.ndarray]
_PREFIX = "field_"


def is_field(name: str) -> bool:
  return name.startswith(_PREFIX)


def reconstructions_section(arrays: Arrays) -> Html:
  """A row of pictures for the images, and one for each method."""
  named = {name.removeprefix(_PREFIX): x for name, x in arrays.items() if is_field(name)}
  rows: list[Any] = []
  for name in sorted(named, key=lambda name: name != "image"):
    shown = [picture(x, f"{name}, image {n + 1}") for n, x in enumerate(named[name])]
    title = tag("b", "image") if name == "image" else tag("code", name)
    cells = [tag("div", one, class_="picture") for one in shown]
    rows.append(tag("li", title, tag("div", *cells, class_="pictures")))
  reading = note("Images of unseen classes, and what each method's weights hold of them.")
  return section("Reconstructions", reading, tag("ul", *rows, class_="classes"))
