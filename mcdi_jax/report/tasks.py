"""Test tasks as pictures: the support, and every query with its predicted class."""

import base64
import io

import numpy as np
from PIL import Image

from mcdi_jax.report.markup import Html, note, section, tag

Arrays = dict[str, np.ndarray]

TASK_ARRAYS = ("example_support", "example_query", "example_predicted")
_MOST_BYTES = 1_500_000  # of all pictures together
_LARGEST = 84  # pixels of the longer side
_SMALL = 40 * 40  # pixels: JPEG helps only above


def tasks_section(arrays: Arrays) -> Html:
  """As many tasks as fit into `_MOST_BYTES`, one at least."""
  support, query, predicted = (arrays[name] for name in TASK_ARRAYS)
  shown: list[Html] = []
  for one in zip(support, query, predicted, strict=True):
    task = _task(len(shown) + 1, *one)
    if shown and sum(map(len, shown)) + len(task) > _MOST_BYTES:
      break
    shown.append(task)
  left = len(support) - len(shown)
  right = int((predicted == np.arange(predicted.shape[1])[:, None]).sum())
  return section(
    "Test tasks",
    note(
      f"The generated weights classify {right} of {predicted.size} queries of these tasks "
      "rightly (✓). A dashed frame and “✗ as 3” mark a query that was taken for class 3."
    ),
    *shown,
    note(f"Tasks left out for the size of the page: {left}.") if left else None,
  )


def _task(
  number: int, support: np.ndarray, query: np.ndarray, predicted: np.ndarray
) -> Html:
  """One task.

  Args:
    support: uint8 [N, K, h, w, c].
    query: uint8 [N, Q, h, w, c].
    predicted: int [N, Q], classes 0..N−1; on the page they count from 1.
  """
  rows = []
  for i, (shots, queries, classes) in enumerate(
    zip(support, query, predicted, strict=True)
  ):
    given = [picture(image, f"support of class {i + 1}") for image in shots]
    asked = [
      _query(image, i, int(found)) for image, found in zip(queries, classes, strict=True)
    ]
    rows.append(
      tag(
        "li",
        tag("b", f"class {i + 1}"),
        tag("div", *(tag("div", x, "support", class_="picture") for x in given),
            class_="pictures"),
        tag("div", *asked, class_="pictures"),
      )
    )  # fmt: skip
  return Html(tag("h3", f"Task {number}") + tag("ul", *rows, class_="classes"))


def _query(image: np.ndarray, true: int, found: int) -> Html:
  if found == true:
    shown = picture(image, f"query of class {true + 1}, rightly classified")
    return tag("div", shown, "✓", class_="picture")
  shown = picture(image, f"query of class {true + 1}, wrongly taken for {found + 1}")
  return tag("div", shown, f"✗ as {found + 1}", class_="picture wrong")


def picture(image: np.ndarray, text: str) -> Html:
  """An image as a data URI; uint8 [h, w, c] with c = 1 or 3."""
  grey = image.shape[-1] != 3
  picture = Image.fromarray(image[..., 0] if grey else image)
  picture.thumbnail((_LARGEST, _LARGEST))
  content = io.BytesIO()
  kind = "png" if grey or picture.width * picture.height <= _SMALL else "jpeg"
  if kind == "png":
    picture.save(content, "png", optimize=True)
  else:
    picture.save(content, "jpeg", quality=80)
  code = base64.b64encode(content.getvalue()).decode()
  return tag("img", src=f"data:image/{kind};base64,{code}", alt=text)
