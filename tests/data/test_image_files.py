"""Which files are images, what is left out, and what is said of them."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import image_files
from mcdi_jax.data.image_files import (
  is_image,
  read_image,
  read_images,
  unreadable,
  walk,
)
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
  text = io.StringIO()
  monkeypatch.setattr(image_files.CONSOLE, "file", text)
  return text


def _save(path: Path, value: int = 0, format: str | None = None) -> files.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((4, 6), value, np.uint8)).save(path, format)
  return files.as_path(path)


def _found(root: Path) -> dict[str, list[str]]:
  root = files.as_path(root)
  return {str(f.relative_to(root)): [i.name for i in images] for f, images in walk(root)}


SUFFIXES = ["png", "JPG", "jfif", "Tiff", "webp", "ppm", "pbm", "gif", "bmp", "tga", "jp2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_are_told_by_the_suffixes_that_pillow_opens(tmp_path: Path, suffix: str):
  """Also where the content is broken, which is then said."""
  path = files.as_path(tmp_path / f"a.b.{suffix}")
  path.write_text("no image")
  assert is_image(path)


@pytest.mark.parametrize("name", ["a", "a.picture", "1.2", "a.png.bak", "png"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "PPM"])
def test_images_without_a_known_suffix_are_told_by_their_content(tmp_path, name, format):
  path = _save(tmp_path / name, 99, format)
  assert is_image(path)
  np.testing.assert_allclose(read_image(path), 99, atol=2)


@pytest.mark.parametrize("name", ["a.txt", "png", "Thumbs.db", "a.eps", "a.mpg", "a.h5"])
@pytest.mark.parametrize("content", [b"", b"P", b"no image\n" * 99, b"%!PS-Adobe-3.0 EPSF"])
def test_what_no_format_knows_is_no_image(tmp_path: Path, name: str, content: bytes):
  (tmp_path / name).write_bytes(content)
  assert not is_image(files.as_path(tmp_path / name))


@pytest.mark.parametrize("name", [".a.png", "._a.png", ".a"])
def test_hidden_files_are_no_images(tmp_path: Path, name: str):
  assert not is_image(_save(tmp_path / name, format="PNG"))


def test_a_pipe_is_not_waited_for(tmp_path: Path):
  for name in ("pipe", "pipe.png"):
    os.mkfifo(tmp_path / name)
    assert not is_image(files.as_path(tmp_path / name))


def test_folders_and_files_come_in_natural_order(tmp_path: Path, printed):
  for name in ("b/10.png", "b/9.png", "a10/x.png", "a9/x.png"):
    _save(tmp_path / name)
  expected = {".": [], "a9": ["x.png"], "a10": ["x.png"], "b": ["9.png", "10.png"]}
  assert list(_found(tmp_path).items()) == list(expected.items())
  assert printed.getvalue() == ""


HELPERS = ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle", "$RECYCLE.BIN"]


@pytest.mark.parametrize("name", HELPERS)
def test_helper_folders_are_left_out_and_said(tmp_path: Path, printed, name: str):
  for place in ("a/1.png", f"{name}/1.png", f"a/{name}/2.png"):
    _save(tmp_path / place)
  assert _found(tmp_path) == {".": [], "a": ["1.png"]}
  assert f"left out helper folders (2): {name}, a/{name}" in printed.getvalue()


@pytest.mark.parametrize("name", ["@", "#", "_", "__", "$", "a__b", "=1", "[red]"])
def test_signs_are_no_helpers(tmp_path: Path, printed, name: str):
  """A set of characters has such classes."""
  _save(tmp_path / name / "1.png")
  assert _found(tmp_path) == {".": [], name: ["1.png"]}
  assert printed.getvalue() == ""


def test_files_that_are_no_images_are_counted_in_one_line(tmp_path: Path, printed):
  _save(tmp_path / "a" / "1.png")
  for i in range(7):
    (tmp_path / "a" / f"[b]{i}.txt").write_text("a note")
  assert _found(tmp_path) == {".": [], "a": ["1.png"]}
  (line,) = printed.getvalue().splitlines()
  assert "left out files that are no images (7): a/[b]0.txt, " in line
  assert "and 2 more" in line


@pytest.mark.parametrize("target", [".", "..", "../set/a", "../set"])
def test_links_that_lead_back_are_left_out(tmp_path: Path, printed, target: str):
  """To the folder itself, to one above the set, and by way of one another."""
  root = tmp_path / "around" / "set"
  for name in ("a/1.png", "b/1.png", "../other/1.png"):
    _save(root / name)
  (root / "a" / "back").symlink_to(root / target)
  (root / "b" / "over").symlink_to(root / "a")
  found = _found(root)
  expected = {".": [], "a": ["1.png"], "b": ["1.png"], "b/over": ["1.png"]}
  assert found == expected
  assert "left out links that lead back" in printed.getvalue()


def test_links_to_one_another_end(tmp_path: Path, printed):
  for name in ("a/1.png", "b/1.png"):
    _save(tmp_path / name)
  (tmp_path / "a" / "x").symlink_to(tmp_path / "b")
  (tmp_path / "b" / "y").symlink_to(tmp_path / "a")
  found = _found(tmp_path)
  assert found.keys() == {".", "a", "a/x", "b", "b/y"}
  assert "left out links that lead back (2): a/x/y, b/y/x" in printed.getvalue()


def test_a_file_name_that_is_not_utf_8_is_read_and_printed(tmp_path: Path, printed):
  name = os.fsdecode(b"caf\xe9")
  _save(tmp_path / name / f"{name}\n.png", 7, "PNG")
  (tmp_path / name / f"{name}.txt").write_text("no image")
  ((_, none), (_, images)) = walk(files.as_path(tmp_path))
  assert none == []
  np.testing.assert_array_equal(read_image(images[0]), 7)
  assert r"caf\xe9/caf\xe9.txt" in printed.getvalue()
  images[0].write_bytes(b"no image")
  with pytest.raises(DamagedError, match=r"caf\\xe9\\n.png cannot be read") as caught:
    read_image(images[0])
  assert "\n" not in str(caught.value)


def test_what_can_be_read_is_read_and_all_bad_ones_are_named(tmp_path: Path):
  paths = [_save(tmp_path / f"{n}.png", n) for n in range(5)]
  for n in (1, 3):
    paths[n].write_bytes(paths[n].read_bytes()[:30])
  read = read_images(paths)
  assert read.paths == [paths[n] for n in (0, 2, 4)]
  assert [image[0, 0, 0] for image in read.images] == [0, 2, 4]
  said = str(unreadable(read.bad))
  assert said.startswith("2 files cannot be read as images: remove or save again")
  assert all(str(paths[n]) in said for n in (1, 3))
  assert not any(str(paths[n]) in said for n in (0, 2, 4))
  assert "\n" not in said


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_frames_the_first_is_taken_and_it_is_said(tmp_path, printed, suffix):
  frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (200, 100, 0)]
  path = tmp_path / f"a.{suffix}"
  options = {"lossless": True} if suffix == "webp" else {}
  frames[0].save(path, save_all=True, append_images=frames[1:], **options)
  one = _save(tmp_path / "one.png")
  (image, _) = read_images([files.as_path(path), one]).images
  np.testing.assert_array_equal(image, 200)
  assert f"1 of 2 images have several frames: the first is taken (a.{suffix})" in (
    printed.getvalue()
  )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_large_image_is_reduced_by_area_mean(tmp_path, printed, monkeypatch, mode: str):
  """By the least whole factor that gets below the limit; here 2, of 24×20 pixels."""
  small = np.random.default_rng(0).integers(0, 256, (12, 10, 4), np.uint8)
  small[..., 3] = 255
  pixels = small.repeat(2, 0).repeat(2, 1)
  grey = pixels[..., 0] if mode == "L" else 257 * pixels[..., 0].astype(np.uint16)
  image = Image.fromarray(grey if mode in ("L", "I;16") else pixels[..., : len(mode)])
  image.save(tmp_path / "a.png")
  path = files.as_path(tmp_path / "a.png")
  monkeypatch.setattr(image_files, "LARGE", 480)
  assert read_image(path).shape[:2] == (24, 20)
  monkeypatch.setattr(image_files, "LARGE", 479)
  (found,) = read_images([path]).images
  channels = 1 if mode in ("L", "I;16") else 3
  np.testing.assert_array_equal(found, small[..., :channels])
  assert "reduced as they are read (a.png by 2)" in printed.getvalue()


@pytest.mark.filterwarnings("error")
def test_an_image_of_100_million_pixels_is_no_warning(tmp_path, monkeypatch):
  """Pillow warns of a bomb; here, memory is bounded."""
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
  assert read_image(_save(tmp_path / "a.png")).shape == (4, 6, 1)


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
  def refuse(self):
    raise PermissionError(13, "Permission denied")

  root = files.as_path(tmp_path)
  monkeypatch.setattr(type(root), "iterdir", refuse)
  with pytest.raises(ValueError, match=f"{tmp_path} may not be read: change"):
    walk(root)
