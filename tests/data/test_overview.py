"""What `launch.data` shows: counts that are true, and a sheet of the images."""

import io

import numpy as np
import pytest
from rich.console import Console

from mcdi_jax.data import Splits, contact_sheet, from_labels, overview

H, W, LABEL = 30, 20, 14
COUNTS = {"train": (5, 3, 7), "val": (4, 4), "test": (1, 2, 2, 2)}


def _splits(channels: int = 1) -> Splits:
  """Image i of class c of split s has the brightness 100 s + 10 c + i + 1 everywhere; of
  three channels, the first."""
  sets = []
  for s, counts in enumerate(COUNTS.values()):
    labels = np.repeat(np.arange(len(counts)), counts)
    number = np.concatenate([np.arange(n) for n in counts])
    x = np.zeros((len(labels), H, W, channels), np.uint8)
    x[..., 0] = (100 * s + 10 * labels + number + 1)[:, None, None]
    sets.append(from_labels(x, labels))
  names = tuple(tuple(f"{split}-{c}" for c in range(len(n))) for split, n in COUNTS.items())
  return Splits(*sets, names, name="toys", digest="")


def _text(splits: Splits) -> str:
  console = Console(file=io.StringIO(), width=120)
  console.print(overview(splits))
  return console.file.getvalue()


def _rows(text: str) -> dict[str, list[str]]:
  """Split → the cells of its row."""
  cells = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
  return {row[0]: row[1:] for row in cells if row and row[0] in COUNTS}


def test_the_table_counts_classes_and_images():
  text = _text(_splits())
  rows = _rows(text)
  assert rows["train"][:3] == ["3", "15", "3–7"]
  assert rows["val"][:3] == ["2", "8", "4"]
  assert rows["test"][:3] == ["4", "7", "1–2"]
  assert rows["test"][3] == "test-0, test-1, test-2"
  assert "toys: 30×20, grey, border " in text


def test_the_table_tells_colours_and_the_border_of_the_training_images():
  splits = _splits(channels=3)
  splits.train.x[:] = 51
  splits.train.x[:, 1:-1, 1:-1] = 255
  assert "30×20, colour, border 0.20" in _text(splits)


def test_names_are_no_markup():
  """A folder may be called anything."""
  splits = _splits()._replace(name="[red]", classes=(("[bold]",),) * 3)
  text = _text(splits)
  assert "[red]: 30×20" in text
  assert _rows(text)["val"][3] == "[bold]"


def test_the_sheet_has_a_row_a_class_and_a_label_a_split():
  """Small images are enlarged; a grid line lies beside and below each."""
  zoom = 2  # 30×20 → 60×40
  sheet = contact_sheet(_splits(), drawings=6)
  assert sheet.size == (6 * zoom * (W + 1), 9 * zoom * (H + 1) + 3 * LABEL)
  large = _splits()
  large = large._replace(
    **{n: s._replace(x=s.x.repeat(3, 1)) for n, s in zip(COUNTS, large[:3], strict=True)}
  )
  sheet = contact_sheet(large, classes=2, drawings=6)
  assert sheet.size == (6 * (W + 1), 6 * (3 * H + 1) + 3 * LABEL)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_class_of_fewer_images_leaves_grey_places(channels: int):
  """Each place holds the image that belongs there, or 200, which is none of them."""
  sheet = np.asarray(contact_sheet(_splits(channels), drawings=6))
  top = 0
  for s, counts in enumerate(COUNTS.values()):
    top += LABEL
    for c, count in enumerate(counts):
      places = sheet[top : top + 2 * H].reshape(2 * H, 6, 2 * (W + 1), 3)[:, :, : 2 * W]
      for i, place in enumerate(places.swapaxes(0, 1)):
        here = np.unique(place.reshape(-1, 3), axis=0).tolist()
        bright = 100 * s + 10 * c + i + 1
        image = [bright] * 3 if channels == 1 else [bright, 0, 0]
        assert here == ([image] if i < count else [[200] * 3])
      top += 2 * (H + 1)
  assert top == len(sheet)


def test_classes_on_the_sheet_are_spread_over_the_set():
  """The first and the last are among them."""
  sheet = np.asarray(contact_sheet(_splits(), classes=2, drawings=1))
  first = [LABEL + row * 2 * (H + 1) for row in range(2)]
  assert [sheet[y, 0, 0] for y in first] == [1, 21]
