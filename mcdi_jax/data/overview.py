"""What is in a set, before a run."""

import io

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from rich.table import Table
from rich.text import Text

from mcdi_jax.data.class_lists import SPLITS
from mcdi_jax.data.class_set import ClassSet
from mcdi_jax.data.images import border_brightness, to_colour
from mcdi_jax.data.load import Splits

_LABEL = 14  # pixels of height for a split's name
_TITLE = "mcdi_jax contact sheet"
_LEAST = 56  # pixels a side that smaller images are enlarged to


def overview(splits: Splits) -> Table:
  """Classes, images and images a class of each split."""
  height, width, channels = splits.image_shape
  colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
  border = border_brightness(np.asarray(splits.train.x)) / 255
  table = Table(
    "split",
    title=Text(f"{splits.name}: {height}×{width}, {colours}, border {border:.2f}"),
    caption="border: mean brightness of the outermost pixels, 0 to 1; content "
    f"{splits.digest[:16]}, the same from whatever source it is read",
  )
  for name in ("classes", "images", "images a class"):
    table.add_column(name, justify="right")
  table.add_column("such as")
  for name, items, classes in zip(SPLITS, splits[:3], splits.classes, strict=True):
    least, most = int(np.min(items.count)), int(np.max(items.count))
    table.add_row(
      name,
      str(items.classes),
      str(int(np.sum(items.count))),
      str(least) if least == most else f"{least}–{most}",
      Text(", ".join(classes[:3])),
    )
  return table


def contact_sheet(splits: Splits, *, classes: int = 8, drawings: int = 12) -> Image.Image:
  """Some images of some classes of every split, a class a row."""
  height, width, _ = splits.image_shape
  zoom = max(1, -(-_LEAST // max(height, width)))
  blocks = []
  for name, items in zip(SPLITS, splits[:3], strict=True):
    rows = _rows(items, min(classes, items.classes), drawings)
    pixels = np.repeat(np.repeat(rows, zoom, 0), zoom, 1)
    label = Image.new("RGB", (pixels.shape[1], _LABEL), "white")
    text = f"{name}: {items.classes} classes"
    ImageDraw.Draw(label).text((2, 1), text, fill="black")
    blocks += [np.asarray(label), pixels]
  return Image.fromarray(np.concatenate(blocks))


def as_png(sheet: Image.Image) -> bytes:
  """The file, with a note by which `is_sheet` knows it again."""
  note, content = PngInfo(), io.BytesIO()
  note.add_text("Title", _TITLE)
  sheet.save(content, "PNG", pnginfo=note)
  return content.getvalue()


def is_sheet(content: bytes) -> bool:
  """Whether a file is a contact sheet that was written here."""
  return _TITLE.encode() in content[:256]


def _rows(items: ClassSet, classes: int, drawings: int) -> np.ndarray:
  """uint8 [rows, columns, 3]; classes of fewer images leave grey places."""
  x, index, count = map(np.asarray, (items.x, items.index, items.count))
  chosen = np.linspace(0, items.classes - 1, classes).astype(int)
  sheet = np.full((classes, drawings, *x.shape[1:3], 3), 200, np.uint8)
  for row, c in zip(sheet, chosen, strict=True):
    shown = x[index[c, : min(drawings, count[c])]]
    row[: len(shown)] = to_colour(shown)[..., :3]
  sheet = np.pad(sheet, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), constant_values=128)
  rows, columns, h, w, _ = sheet.shape
  return sheet.swapaxes(1, 2).reshape(rows * h, columns * w, 3)
