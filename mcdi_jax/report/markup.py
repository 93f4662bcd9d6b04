"""HTML, built by functions: text is escaped unless it is `Html`."""

import html
from collections.abc import Iterable
from typing import Any

from mcdi_jax.report.style import SCRIPT, STYLE

_VOID = {"hr", "img", "meta"}  # the elements in use that have no end


class Html(str):
  """Markup that may stand in a page as it is."""


def safe(content: Any) -> Html:
  """`Html` as it is, None as nothing, all else as escaped text."""
  if isinstance(content, Html):
    return content
  return Html("" if content is None else html.escape(str(content)))


def join(parts: Iterable[Any], between: str = "") -> Html:
  return Html(between.join(safe(part) for part in parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
  """An element. `class_` is class and `aria_label` is aria-label; an attribute that is None
  is left out, one that is True stands alone."""
  written = ""
  for key, value in attributes.items():
    if value is None:
      continue
    written += " " + key.rstrip("_").replace("_", "-")
    written += "" if value is True else f'="{html.escape(str(value))}"'
  if name in _VOID:
    return Html(f"<{name}{written}>")
  return Html(f"<{name}{written}>{join(children)}</{name}>")


def paragraph(*children: Any) -> Html:
  return tag("p", *children)


def note(*children: Any) -> Html:
  """A small paragraph that says how something is to be read."""
  return tag("p", *children, class_="note")


def bullets(items: Iterable[Any]) -> Html:
  return tag("ul", *(tag("li", item) for item in items))


def section(title: str, *children: Any) -> Html:
  """A part of the page under a heading of its own."""
  return tag("section", tag("h2", title), *children)


def table(caption: str, head: list[str], rows: list[list[Any]], words: int = 1) -> Html:
  """A table in a container that scrolls by itself on a narrow screen.

  Args:
    rows: cells; the first of a row is its heading.
    words: how many columns from the left hold words; the others are aligned as numbers.
  """

  def side(column: int) -> str | None:
    return None if column < words else "number"

  titles = [tag("th", name, scope="col", class_=side(i)) for i, name in enumerate(head)]
  body = [
    tag(
      "tr",
      tag("th", row[0], scope="row"),
      *(tag("td", cell, class_=side(i)) for i, cell in enumerate(row[1:], 1)),
    )
    for row in rows
  ]
  content = tag(
    "table", tag("thead", tag("tr", *titles)), tag("tbody", *body), aria_label=caption
  )
  # The caption stays in place; the container takes the focus, so that keys can scroll it.
  place = {"class_": "scroll", "tabindex": "0", "role": "region", "aria_label": caption}
  return Html(tag("p", caption, class_="caption") + tag("div", content, **place))


BEGIN = "<!DOCTYPE html>\n"


def page(title: str, *children: Any) -> str:
  """The whole document."""
  head = tag(
    "head",
    tag("meta", charset="utf-8"),
    tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
    tag("meta", name="color-scheme", content="light dark"),
    tag("title", title),
    tag("style", Html(STYLE)),
  )
  body = tag("body", tag("main", *children), tag("script", Html(SCRIPT)))
  return BEGIN + tag("html", head, body, lang="en") + "\n"
