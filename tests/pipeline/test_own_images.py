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
  """The ground of each image is of the brightness by which it is known, 10·class + number;
  with a dot of ink."""
  for c, (name, count) in enumerate(counts.items()):
    for i in range(count):
      _write(root / name / f"{i}.png", _dot(10 * c + i))
  return root


def _dot(ground: int) -> np.ndarray:
  pixels = np.full((8, 8), ground, np.uint8)
  pixels[4, 4] = 200
  return pixels


def test_images_in_the_form_stay_as_they_are_and_nothing_is_said(tmp_path, printed):
  path = _write(tmp_path / "a.png", _drawing())
  found = read_files([path], GREY).x
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found[0, ..., 0], _drawing())
  assert printed.getvalue() == ""


def test_colours_become_grey_and_grey_becomes_colours(tmp_path, printed):
  grey, colour = (
    _write(tmp_path / "grey.png", _drawing()),
    _write(tmp_path / "colour.png", _colours()),
  )
  found = read_files([grey, colour], GREY).x
  luma = _colours() @ [0.299, 0.587, 0.114]
  np.testing.assert_allclose(found[1, ..., 0], luma, atol=0.51)  # a whole number
  assert "1 of 2 images converted to grey" in printed.getvalue()
  found = read_files([grey, colour], COLOUR).x
  for channel in range(3):
    np.testing.assert_array_equal(found[0, ..., channel], _drawing())
  np.testing.assert_array_equal(found[1], _colours())
  assert "1 of 2 images converted to colour" in printed.getvalue()


def test_images_of_another_size_are_resized_by_area_mean(tmp_path, printed):
  """Also where height and width change by factors of their own."""
  wide = np.repeat(_drawing(), 3, axis=1)
  wide[0, :3] = 20, 26, 32  # their mean is the border's 26
  found = read_files([_write(tmp_path / "a.png", wide)], GREY).x
  np.testing.assert_array_equal(found[0, ..., 0], _drawing())
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
  path = _write(tmp_path / "a.png", _drawing(border))
  found = read_files([path], Form((8, 8, 1), trained)).x
  plain = _drawing(border)
  expected = 255 - plain if inverted else plain
  np.testing.assert_array_equal(found[0, ..., 0], expected)
  assert ("1 of 1 images inverted" in printed.getvalue()) == inverted


def test_polarity_is_found_image_by_image(tmp_path, printed):
  dark = _write(tmp_path / "dark.png", _drawing(0.1))
  bright = _write(tmp_path / "bright.png", 255 - _drawing(0.1))
  found = read_files([dark, bright, bright], GREY).x
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


def test_all_images_of_each_class_are_taken(tmp_path, printed):
  root = _folder(tmp_path / "s", {"a": 4, "b": 2, "c": 3})
  x, y, classes = read_support(root, Form((8, 8, 1), None))
  assert x.dtype == np.float32
  assert y.dtype == np.int32
  assert classes == ("a", "b", "c")
  np.testing.assert_array_equal(y, np.repeat([0, 1, 2], [4, 2, 3]))
  grounds = [0, 1, 2, 3, 10, 11, 20, 21, 22]
  np.testing.assert_allclose(255 * x[:, 0, 0, 0], grounds, atol=1e-4)
  assert printed.getvalue() == ""


def test_fewer_images_than_shots_are_all_taken_and_it_is_said(tmp_path, printed):
  root = _folder(tmp_path / "s", {"a": 4, "[b]": 2})
  x, y, classes = read_support(root, Form((8, 8, 1), None), shots=3)
  assert classes == ("[b]", "a")
  np.testing.assert_array_equal(y, [0, 0, 1, 1, 1])
  np.testing.assert_allclose(255 * x[:, 0, 0, 0], [10, 11, 0, 1, 2], atol=1e-4)
  assert "'[b]' has 2 images, fewer than --shots 3: all are taken" in printed.getvalue()


def test_the_first_images_are_those_of_the_lowest_numbers(tmp_path):
  root = _folder(tmp_path / "s", {"a": 12, "b": 1})
  x, y, _ = read_support(root, Form((8, 8, 1), None), shots=3)
  np.testing.assert_array_equal(y, [0, 0, 0, 1])
  np.testing.assert_allclose(255 * x[:3, 0, 0, 0], [0, 1, 2], atol=1e-4)


@pytest.mark.parametrize("shots", [None, 2])
def test_a_support_may_be_an_archive(tmp_path, shots):
  """The same as from folders: of unequal classes, labels in any order, names not."""
  counts = {"c10": 3, "c9": 1, "B": 2}
  folder = _folder(tmp_path / "s", counts)
  images = [_dot(10 * c + i) for c, n in enumerate(counts.values()) for i in range(n)]
  labels = np.repeat(np.arange(3), [*counts.values()])
  order = [4, 0, 3, 1, 5, 2]
  path = tmp_path / "s.npz"
  np.savez(path, images=np.array(images)[order], labels=labels[order], classes=[*counts])
  expected = read_support(folder, GREY, shots)
  found = read_support(path, GREY, shots)
  np.testing.assert_array_equal(found[0], expected[0])
  np.testing.assert_array_equal(found[1], expected[1])
  assert found[2] == expected[2] == ("B", "c9", "c10")


def test_an_archive_takes_the_form_of_the_generator(tmp_path, printed):
  wide = np.repeat(255 - _dot(10), 2, axis=1)
  images = np.stack([np.stack([wide] * 3, -1)] * 2)
  np.savez(tmp_path / "s.npz", images=images, labels=["b", "a"])
  x, _, classes = read_support(tmp_path / "s.npz", GREY)
  np.testing.assert_array_equal(x[..., 0], np.float32([_dot(10)] * 2) / 255)
  assert classes == ("a", "b")
  assert "2 of 2 images resized" in printed.getvalue()
  assert "2 of 2 images inverted" in printed.getvalue()


def test_what_is_wrong_with_an_archive_is_said_of_the_support(tmp_path):
  with pytest.raises(MissingError, match="--support is .*no.npz', where there is no file"):
    read_support(tmp_path / "no.npz", GREY)
  path = tmp_path / "s.npz"
  path.write_text("no archive")
  with pytest.raises(DamagedError, match="--support .*s.npz"):
    read_support(path, GREY)
  np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=[1, 1])
  with pytest.raises(InputError, match="the class '1' alone: at least two"):
    read_support(path, GREY)
  np.savez(path, images=np.zeros((2, 8, 8, 2), np.uint8), labels=[1, 2])
  with pytest.raises(InputError, match="2 channels"):
    read_support(path, GREY)


BLANK = {
  "white": lambda: Image.new("L", (8, 8), 255),
  "clear": lambda: Image.new("RGBA", (8, 8), (0, 0, 0, 0)),
  "nearly": lambda: Image.fromarray((_dot(0) > 100).astype(np.uint8)),  # a mask of 0 and 1
}


@pytest.mark.parametrize("kind", BLANK)
def test_a_class_in_which_nothing_is_to_be_seen_is_refused(tmp_path, printed, kind):
  """One blank image among others of its class is said."""
  root = _folder(tmp_path / "s", {"a": 2, "b": 2})
  BLANK[kind]().save(root / "b" / "0.png")
  read_support(root, GREY)
  said = "1 of 4 images are all of one value: b/0.png of class 'b'"
  assert said in printed.getvalue()
  BLANK[kind]().save(root / "b" / "1.png")
  with pytest.raises(InputError, match="the class 'b' in .* are all of one value"):
    read_support(root, GREY)
  np.savez(tmp_path / "s.npz", images=np.zeros((2, 8, 8), np.uint8), labels=["b", "c"])
  with pytest.raises(InputError, match="the class 'b' in .* are all of one value"):
    read_support(tmp_path / "s.npz", GREY)


def _inks() -> dict[str, Image.Image]:
  ink = np.zeros((8, 8), np.uint8)
  ink[2:6, 3:5] = 255
  light = np.stack([0 * ink + 255] * 3 + [ink], -1)
  return {
    "light.png": Image.fromarray(light),
    "unit.tif": Image.fromarray(np.float32(ink / 255)),
    "yellow.webp": Image.fromarray(light * np.array([1, 1, 0, 1], np.uint8)),
    "16.png": Image.fromarray(257 * ink.astype(np.uint16)),
  }


@pytest.mark.parametrize("name", _inks())
def test_ink_is_kept_whatever_the_file(tmp_path, name):
  for c in "ab":
    (tmp_path / c).mkdir()
    _inks()[name].save(tmp_path / c / name)
  x, _, _ = read_support(tmp_path, GREY)
  np.testing.assert_array_equal(x[0, ..., 0] > 0.5, np.asarray(_inks()["unit.tif"]) > 0.5)


def test_one_class_is_none_to_tell_apart(tmp_path):
  root = _folder(tmp_path / "s", {"a": 3})
  with pytest.raises(InputError, match="'a' alone.*two classes"):
    read_support(root, GREY)
  with pytest.raises(MissingError, match="no folder"):
    read_support(tmp_path / "nowhere", GREY)


def test_unreadable_files_of_a_support_are_all_named(tmp_path):
  root = _folder(tmp_path / "s", {"a": 2, "b": 2})
  for name in ("a/0.png", "b/1.png"):
    (root / name).write_bytes(b"no picture")
  with pytest.raises(DamagedError, match=r"2 files .*a/0\.png .*b/1\.png"):
    read_support(root, GREY)


def test_files_that_can_be_read_are_read_beside_others(tmp_path):
  paths = [_write(tmp_path / f"{i}.png", _dot(i)) for i in range(3)]
  paths[1].write_bytes(b"no picture")
  read = read_files(paths, GREY)
  assert read.paths == [paths[0], paths[2]]
  np.testing.assert_array_equal(read.x[:, 0, 0, 0], [0, 2])
  assert list(read.bad) == [paths[1]]
  with pytest.raises(DamagedError, match=r"1\.png cannot be read"):
    read_files([paths[1]], GREY)


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
