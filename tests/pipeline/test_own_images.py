"""A user's images take the form of the training images, and what is changed is said."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import as_path
from mcdi_jax.pipeline import own_images
from mcdi_jax.pipeline.own_images import Form, image_files, read_files, read_support

GREY, COLOUR = Form((8, 8, 1), 0.1), Form((8, 8, 3), 0.1)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
  text = io.StringIO()
  monkeypatch.setattr(own_images.CONSOLE, "file", text)
  return text


def _drawing(border: float = 0.1, size: tuple[int, int] = (8, 8)) -> np.ndarray:
  """uint8 [h, w]: a border of this brightness around pixels of all kinds."""
  pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
  pixels[[0, -1]] = pixels[:, [0, -1]] = round(255 * border)
  return pixels


def _colours() -> np.ndarray:
  """uint8 [8, 8, 3], dark at the border, each channel of its own."""
  pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
  pixels[[0, -1]] = pixels[:, [0, -1]] = 20
  return pixels


def _write(path: Path, pixels: np.ndarray) -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path)
  return as_path(path)


def _folder(root: Path, counts: dict[str, int]) -> Path:
  """Each image of one brightness, by which it is known: 10·class + number."""
  for c, (name, count) in enumerate(counts.items()):
    for i in range(count):
      _write(root / name / f"{i}.png", np.full((8, 8), 10 * c + i, np.uint8))
  return root


def test_images_in_the_form_stay_as_they_are_and_nothing_is_said(tmp_path, printed):
  path = _write(tmp_path / "a.png", _drawing())
  found = read_files([path], GREY)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found[0, ..., 0], np.float32(_drawing()) / 255)
  assert printed.getvalue() == ""


def test_colours_become_grey_and_grey_becomes_colours(tmp_path, printed):
  grey, colour = (
    _write(tmp_path / "grey.png", _drawing()),
    _write(tmp_path / "colour.png", _colours()),
  )
  found = read_files([grey, colour], GREY)
  luma = _colours() @ [0.299, 0.587, 0.114]
  np.testing.assert_allclose(255 * found[1, ..., 0], luma, atol=0.51)  # a whole number
  assert "1 of 2 images converted to grey" in printed.getvalue()
  found = read_files([grey, colour], COLOUR)
  for channel in range(3):
    np.testing.assert_array_equal(found[0, ..., channel], np.float32(_drawing()) / 255)
  np.testing.assert_array_equal(found[1], np.float32(_colours()) / 255)
  assert "1 of 2 images converted to colour" in printed.getvalue()


def test_images_of_another_size_are_resized_by_area_mean(tmp_path, printed):
  """Also where height and width change by factors of their own."""
  wide = np.repeat(_drawing(), 3, axis=1)
  wide[0, :3] = 20, 26, 32  # their mean is the border's 26
  found = read_files([_write(tmp_path / "a.png", wide)], GREY)
  np.testing.assert_array_equal(found[0, ..., 0], np.float32(_drawing()) / 255)
  assert "1 of 1 images resized to 8×8" in printed.getvalue()


@pytest.mark.parametrize(
  ("trained", "border", "inverted"),
  [
    (0.05, 0.95, True),
    (0.95, 0.05, True),
    (0.05, 0.7, True),  # paper in the shade
    (0.05, 0.05, False),
    (0.95, 0.95, False),
    (0.05, 0.5, False),  # photos have a middling border
    (0.95, 0.5, False),
    (0.45, 1.0, False),  # so had the training images
    (0.45, 0.0, False),
    (0.55, 0.0, False),
    (0.7, 0.1, False),
    (None, 1.0, False),  # nobody knows
    (None, 0.0, False),
  ],
)
def test_an_image_is_inverted_where_ground_and_ink_have_changed_places(
  tmp_path, printed, trained, border, inverted
):
  found = read_files(
    [_write(tmp_path / "a.png", _drawing(border))], Form((8, 8, 1), trained)
  )
  plain = _drawing(border)
  expected = 255 - plain if inverted else plain
  np.testing.assert_array_equal(found[0, ..., 0], np.float32(expected) / 255)
  assert ("1 of 1 images inverted" in printed.getvalue()) == inverted


def test_polarity_is_found_image_by_image(tmp_path, printed):
  dark = _write(tmp_path / "dark.png", _drawing(0.1))
  bright = _write(tmp_path / "bright.png", 255 - _drawing(0.1))
  found = read_files([dark, bright, bright], GREY)
  np.testing.assert_array_equal(found[1], found[0])
  assert "2 of 3 images inverted" in printed.getvalue()


def test_a_support_comes_by_class_and_by_name(tmp_path):
  """The folders' names in order, not the order in which they were made; those below too."""
  root = _folder(tmp_path / "s", {"pear": 2, "apple": 2, "exotic/kiwi": 2})
  x, y, classes = read_support(root, Form((8, 8, 1), None))
  assert classes == ("apple", "exotic/kiwi", "pear")
  np.testing.assert_array_equal(y, [0, 0, 1, 1, 2, 2])
  assert x.shape == (6, 8, 8, 1)
  np.testing.assert_allclose(255 * x[:, 0, 0, 0], [10, 11, 20, 21, 0, 1], atol=1e-4)


def test_shots_take_the_first_images_of_each_class(tmp_path):
  root = _folder(tmp_path / "s", {"a": 3, "b": 5})
  x, y, _ = read_support(root, Form((8, 8, 1), None), shots=2)
  np.testing.assert_array_equal(y, [0, 0, 1, 1])
  np.testing.assert_allclose(255 * x[:, 0, 0, 0], [0, 1, 10, 11], atol=1e-4)


def test_unequal_numbers_name_both_classes_and_the_way_out(tmp_path):
  root = _folder(tmp_path / "s", {"a": 4, "b": 3, "c": 4})
  with pytest.raises(
    InputError, match="'a' .*has 4 images, 'b' has 3.*--shots 3"
  ) as caught:
    read_support(root, GREY)
  assert "\n" not in str(caught.value)
  assert len(read_support(root, GREY, shots=3)[1]) == 9


def test_too_few_images_for_shots_name_the_class(tmp_path):
  root = _folder(tmp_path / "s", {"a": 3, "b": 2})
  with pytest.raises(InputError, match="'b' .*has 2 images: too few for --shots 3"):
    read_support(root, GREY, shots=3)


def test_one_class_is_none_to_tell_apart(tmp_path):
  root = _folder(tmp_path / "s", {"a": 3})
  with pytest.raises(InputError, match="'a' alone.*two classes"):
    read_support(root, GREY)
  with pytest.raises(MissingError, match="no folder"):
    read_support(tmp_path / "nowhere", GREY)


def test_an_unreadable_file_is_named(tmp_path):
  root = _folder(tmp_path / "s", {"a": 2, "b": 2})
  (root / "b" / "1.png").write_bytes(b"no picture")
  with pytest.raises(DamagedError, match=r"b/1\.png cannot be read"):
    read_support(root, GREY)


def test_images_to_predict_are_all_in_a_folder_and_below(tmp_path):
  made = [_write(tmp_path / name, _drawing()) for name in ("b.png", "c/a.PNG", "a.jpg")]
  (tmp_path / "notes.txt").write_text("none")
  _write(tmp_path / ".hidden.png", _drawing())
  _write(tmp_path / ".cache" / "a.png", _drawing())
  assert image_files(tmp_path) == [made[2], made[0], made[1]]
  assert image_files(made[0]) == [made[0]]


@pytest.mark.parametrize("name", ["nowhere", "nowhere.png", "empty"])
def test_no_image_to_predict_is_missing(tmp_path, name):
  (tmp_path / "empty").mkdir()
  (tmp_path / "empty" / "notes.txt").write_text("none")
  with pytest.raises(MissingError, match=f"no image in .*{name}: give an image"):
    image_files(tmp_path / name)
