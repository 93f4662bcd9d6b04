"""Images in one form: read from files, grey, resized by area mean, of one polarity."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import images as arithmetic
from mcdi_jax.data import raw
from mcdi_jax.data.image_files import read_image
from mcdi_jax.data.images import (
  are_blank,
  as_bytes,
  as_image,
  border_brightness,
  resize,
  to_colour,
  to_grey,
)
from mcdi_jax.data.raw import in_polarity
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _area_mean(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """By brute force, in whole numbers: every pixel repeated until blocks come out even."""
  h, w, c = image.shape
  fine = image.astype(np.int64).repeat(size[0], 0).repeat(size[1], 1)
  total = fine.reshape(size[0], h, size[1], w, c).sum((1, 3))
  return np.rint(total / (h * w)).astype(np.uint8)


SIZES = [
  ((105, 105), (28, 28)),
  ((84, 84), (28, 28)),
  ((10, 10), (3, 3)),  # means that lie exactly between two integers
  ((20, 31), (7, 13)),
  ((5, 40), (28, 28)),
]


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_resize_is_the_exact_area_mean_to_the_nearest_integer(
  old: tuple[int, int], new: tuple[int, int], channels: int
):
  images = _noise(4, *old, channels)
  expected = np.stack([_area_mean(image, new) for image in images])
  together = resize(images, new)
  assert together.dtype == np.uint8
  np.testing.assert_array_equal(together, expected)
  np.testing.assert_array_equal(np.stack([resize(i, new) for i in images]), expected)


def test_an_image_of_the_asked_size_is_left_as_it_is():
  images = _noise(2, 28, 28, 3)
  np.testing.assert_array_equal(resize(images, (28, 28)), images)


def test_a_resize_keeps_the_mean_brightness():
  """Up to rounding: 784 errors of at most 1/2, a mean of 0.05 is 5 of their sd."""
  for images in (_noise(105, 105, 1), _noise(13, 17, 1)):
    assert abs(resize(images, (28, 28)).mean() - images.mean()) < 0.05
  for value in (0, 1, 128, 255):
    even = np.full((105, 105, 1), value, np.uint8)
    np.testing.assert_array_equal(resize(even, (28, 28)), value)


def test_enlarging_repeats_pixels_and_mixes_them_where_they_meet():
  image = np.array([[[10], [20]], [[30], [60]]], np.uint8)
  doubled = resize(image, (4, 4))
  np.testing.assert_array_equal(doubled, image.repeat(2, 0).repeat(2, 1))
  mixed = [[10, 15, 20], [20, 30, 40], [30, 45, 60]]
  np.testing.assert_array_equal(resize(image, (3, 3))[..., 0], mixed)


def test_grey_is_the_luma_of_bt_601_to_the_nearest_integer():
  pure = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
  np.testing.assert_array_equal(to_grey(pure)[:, 0], [76, 150, 29])
  levels = np.arange(256, dtype=np.uint8)[:, None]
  np.testing.assert_array_equal(to_grey(levels.repeat(3, 1)), levels)
  colours = _noise(100_000, 3)
  exact = colours.astype(int) @ [299, 587, 114]
  found = to_grey(colours)
  assert found.dtype == np.uint8
  assert np.abs(1000 * found[:, 0].astype(int) - exact).max() <= 500


def test_grey_leaves_one_channel():
  grey = _noise(2, 5, 5, 1)
  np.testing.assert_array_equal(to_grey(grey), grey)


def test_two_channels_have_no_grey_form():
  with pytest.raises(InputError, match="2 channels.*grey"):
    to_grey(_noise(2, 5, 5, 2))


def test_grey_becomes_colour_of_three_equal_channels():
  grey = _noise(2, 5, 5, 1)
  np.testing.assert_array_equal(to_colour(grey), np.concatenate([grey] * 3, -1))
  colour = _noise(2, 5, 5, 3)
  np.testing.assert_array_equal(to_colour(colour), colour)


def _read(path: Path, image: Image.Image, **options: object) -> np.ndarray:
  image.save(path, **options)
  return read_image(files.as_path(path))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm"])
def test_a_grey_file_has_one_channel(tmp_path: Path, suffix: str):
  pixels = _noise(7, 9)
  found = _read(tmp_path / f"a{suffix}", Image.fromarray(pixels))
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, pixels[..., None])


def test_a_file_of_one_bit_is_black_and_white(tmp_path: Path):
  bits = _noise(7, 9) > 127
  found = _read(tmp_path / "a.png", Image.fromarray(bits))
  np.testing.assert_array_equal(found[..., 0], 255 * bits)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_a_colour_file_has_three_channels(tmp_path: Path, suffix: str):
  pixels = _noise(7, 9, 3)
  np.testing.assert_array_equal(
    _read(tmp_path / f"a{suffix}", Image.fromarray(pixels)), pixels
  )


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_jpeg_is_read_whatever_its_colours(tmp_path: Path, mode: str):
  image = Image.new("RGB", (16, 16), (200, 40, 90)).convert(mode)
  expected = np.asarray(image if mode == "L" else image.convert("RGB"))
  found = _read(tmp_path / "a.JPEG", image, quality=95)
  np.testing.assert_allclose(found, expected.reshape(found.shape), atol=3)  # it is lossy


def test_a_palette_gives_its_colours(tmp_path: Path):
  image = Image.fromarray(_noise(4, 4) % 3, "P")
  colours = np.array([[255, 0, 0], [0, 99, 0], [7, 8, 9]], np.uint8)
  image.putpalette(colours.tobytes())
  expected = colours[np.asarray(image)]
  np.testing.assert_array_equal(_read(tmp_path / "a.png", image), expected)
  expected[np.asarray(image) == 2] = 255
  found = _read(tmp_path / "b.png", image, transparency=2)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str):
  """What is hidden does not shine through, and what is half there is half of each."""
  grey = np.array([[40, 40, 40]], np.uint8)
  alpha = np.array([[0, 255, 51]], np.uint8)  # 51 is a fifth
  colours = [grey] * (len(mode) - 1)
  found = _read(tmp_path / "a.png", Image.fromarray(np.stack([*colours, alpha], -1), mode))
  assert found.shape == (1, 3, 1)
  np.testing.assert_array_equal(found.ravel(), [255, 40, 0.2 * 40 + 0.8 * 255])


def test_light_ink_on_a_transparent_ground_is_laid_on_black(tmp_path: Path):
  """Whatever its colour; hidden pixels do not count. What is dark or middling stays on
  white."""
  alpha = _noise(6, 6)
  alpha[0] = 0
  for ink, ground in (((255, 255, 255), 0), ((255, 240, 60), 0), ((90, 90, 90), 255)):
    pixels = np.empty((6, 6, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = ink, alpha
    pixels[0, :, :3] = 0
    found = to_colour(_read(tmp_path / "a.png", Image.fromarray(pixels)))
    share = alpha[..., None] / 255
    expected = np.rint(share * ink + (1 - share) * ground)
    np.testing.assert_array_equal(found, expected)
    assert np.ptp(found) > 100


def test_a_transparent_grey_is_laid_on_white(tmp_path: Path):
  pixels = np.array([[7, 8, 7]], np.uint8)
  found = _read(tmp_path / "a.png", Image.fromarray(pixels), transparency=7)
  np.testing.assert_array_equal(found, np.array([[255, 8, 255]])[..., None])


def _stored(pixels: np.ndarray) -> dict[str, np.ndarray | Image.Image]:
  """One grey picture of the values 0 to 255, as arrays and files may hold it."""
  image = Image.fromarray(pixels)
  palette = Image.fromarray(255 - pixels, "P")
  palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3).tobytes())
  opaque = np.stack([pixels] * 3 + [np.full_like(pixels, 255)], -1)
  return {
    "grey.png": image,
    "colours.png": image.convert("RGB"),
    "opaque.png": Image.fromarray(opaque),
    "grey and alpha.png": image.convert("LA"),
    "ink in alpha.png": _ink_in_alpha(pixels),
    "palette.png": palette,
    "16 bits.png": Image.fromarray(257 * pixels.astype(np.uint16)),
    "16 bits.tif": Image.fromarray(257 * pixels.astype(np.uint16)),
    "integers.tif": Image.fromarray(pixels.astype(np.int32)),
    "unit.tif": Image.fromarray(np.float32(pixels / 255)),
    "bytes.tif": Image.fromarray(np.float32(pixels)),
    "a.webp": image.convert("RGB"),
    "a.qoi": image.convert("RGB"),
    "a.ppm": image.convert("RGB"),
    "uint8": pixels,
    "one channel": pixels[..., None],
    "three channels": np.stack([pixels] * 3, -1),
    "four channels": opaque,
    "uint16": 257 * pixels.astype(np.uint16),
    "int64": pixels.astype(np.int64),
    "float16": np.float16(pixels / 255),
    "float32": np.float32(pixels / 255),
    "float64": pixels / 255,
    "float bytes": np.float64(pixels),
  }


def _ink_in_alpha(pixels: np.ndarray) -> Image.Image:
  """Black, as opaque as the picture is dark."""
  return Image.fromarray(np.stack([0 * pixels] * 3 + [255 - pixels], -1))


@pytest.mark.parametrize("name", _stored(np.zeros((2, 2), np.uint8)))
def test_one_content_gives_one_reading(tmp_path: Path, name: str):
  pixels = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 16)
  stored = _stored(pixels)[name]
  if isinstance(stored, np.ndarray):
    found = as_image(stored)
  else:
    found = _read(tmp_path / name, stored, **({"lossless": True} if "webp" in name else {}))
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, pixels[..., None])


@pytest.mark.parametrize(
  "pixels",
  [[-1.0, 1.0], [0.0, np.nan], [0.0, np.inf], [0.0, 7e4], [-1, 3], [0, 70000], [1j], ["a"]],
)
def test_numbers_that_are_no_brightness_are_refused(pixels: list):
  with pytest.raises(InputError, match="pixels (run from|of type).*give 0..255"):
    as_bytes(np.array(pixels))


def test_what_a_resize_overshot_is_clipped():
  np.testing.assert_array_equal(as_bytes(np.array([-0.03, 0.5, 1.04])), [0, 128, 255])
  np.testing.assert_array_equal(as_bytes(np.array([False, True])), [0, 255])


def test_arithmetic_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch):
  colours, alpha, wide = _noise(13, 7, 3), _noise(13, 7, 4), _noise(13, 7) / 255
  functions = (
    lambda: to_grey(colours),
    lambda: resize(colours, (4, 5)),
    lambda: as_image(alpha),
    lambda: as_bytes(wide),
  )
  whole = [function() for function in functions]
  monkeypatch.setattr(arithmetic, "_BLOCK", 30)
  for function, expected in zip(functions, whole, strict=True):
    np.testing.assert_array_equal(function(), expected)


def test_blank_is_what_is_all_of_one_value():
  """Up to what a lossy file makes of it; one pixel of ink is seen."""
  blank = np.full((3, 5, 5, 1), 254, np.uint8)
  blank[1, 0, 0], blank[2, 0, 0] = 252, 240
  assert are_blank(blank).tolist() == [True, True, False]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_to_8_also_where_all_is_dark(tmp_path: Path, suffix: str):
  levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
  found = _read(tmp_path / f"a{suffix}", Image.fromarray(257 * levels))
  np.testing.assert_array_equal(found[..., 0], levels)
  dark = _read(tmp_path / f"b{suffix}", Image.fromarray(levels))
  np.testing.assert_array_equal(dark[..., 0], np.rint(levels / 257))


def test_wide_integers_that_hold_bytes_are_read_as_bytes(tmp_path: Path):
  pixels = _noise(7, 9)
  found = _read(tmp_path / "a.tif", Image.fromarray(pixels.astype(np.int32)))
  np.testing.assert_array_equal(found[..., 0], pixels)


def _bytes(format: str) -> bytes:
  content = io.BytesIO()
  Image.fromarray(_noise(20, 24, 3)).save(content, format)
  return content.getvalue()


def _enormous() -> bytes:
  """A BMP that says that it is 100 000 pixels wide and high."""
  content = bytearray(_bytes("BMP"))
  content[18:26] = 2 * (100_000).to_bytes(4, "little")
  return bytes(content)


UNREADABLE: dict[str, Callable[[], bytes]] = {
  "empty": bytes,
  "text": lambda: b"no image\n" * 100,
  "enormous": _enormous,
} | {
  f"{format} cut at {share:.0%}": lambda f=format, s=share: _bytes(f)[
    : int(s * len(_bytes(f)))
  ]
  for format, share in itertools.product(["PNG", "JPEG", "GIF", "BMP", "WEBP"], [0.02, 0.5])
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(tmp_path: Path, case: str):
  path = tmp_path / "some drawing.png"
  path.write_bytes(UNREADABLE[case]())
  with pytest.raises(DamagedError, match="cannot be read as an image.*remove it") as caught:
    read_image(files.as_path(path))
  said = str(caught.value)
  assert said.startswith(str(path))
  assert said.count(str(path)) == 1
  assert "\n" not in said
  assert "object at" not in said
  assert "Buffered" not in said


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_no_damage_escapes_as_another_error(tmp_path: Path):
  """Bytes changed at random: either pixels or the one error."""
  rng = np.random.default_rng(0)
  path = files.as_path(tmp_path / "a.png")
  outcomes = []
  for format in ("PNG", "JPEG", "GIF", "WEBP"):
    for _ in range(100):
      content = bytearray(_bytes(format))
      for place in rng.integers(0, len(content), 3):
        content[place] = rng.integers(0, 256)
      path.write_bytes(bytes(content))
      try:
        outcomes.append(read_image(path).ndim)
      except DamagedError:
        outcomes.append(0)
  assert set(outcomes) == {0, 3}


def _framed(border: int, inside: int) -> np.ndarray:
  images = np.full((3, 9, 9, 1), inside, np.uint8)
  images[:, 0] = images[:, -1] = images[:, :, 0] = images[:, :, -1] = border
  return images


def test_only_the_border_tells_the_ground():
  assert border_brightness(_framed(255, 0)) == 255
  assert border_brightness(_framed(0, 255)) == 0
  for side in range(4):
    one = np.zeros((1, 6, 6, 3), np.uint8)
    one[:, 0] = 255
    assert border_brightness(np.rot90(one, side, (1, 2))) == pytest.approx(255 / 3)


def test_auto_inverts_dark_ink_on_bright_ground_and_says_so(monkeypatch):
  printed = io.StringIO()
  monkeypatch.setattr(raw.CONSOLE, "file", printed)
  bright, dark = _framed(250, 3), _framed(5, 252)
  np.testing.assert_array_equal(in_polarity(dark, "auto", "toys"), dark)
  assert not printed.getvalue()
  np.testing.assert_array_equal(in_polarity(bright, "auto", "toys"), dark)
  assert "toys" in printed.getvalue()
  assert "inverted" in printed.getvalue()


def test_auto_inverts_image_by_image_where_the_ground_is_clear(monkeypatch):
  """Half of a set dark on bright and half bright on dark become alike, in any mixture."""
  printed = io.StringIO()
  monkeypatch.setattr(raw.CONSOLE, "file", printed)
  dark, bright = _framed(5, 252), _framed(250, 3)
  for mixed in ([dark, bright], [dark, bright, bright], [bright, dark, dark]):
    found = in_polarity(np.concatenate(mixed), "auto", "toys")
    np.testing.assert_array_equal(found, np.concatenate([dark] * len(mixed)))
  assert "3 of 6 images" in printed.getvalue()


def test_auto_lets_a_middling_ground_follow_the_others():
  """As of a drawing that touches the border on all sides, or a photograph."""
  middling = _framed(140, 20)[:1]
  for most, expected in ((_framed(5, 252), middling), (_framed(250, 3), 255 - middling)):
    found = in_polarity(np.concatenate([most, middling]), "auto", "toys")
    np.testing.assert_array_equal(found[-1:], expected)


def test_never_and_always_do_not_look():
  for images in (_framed(250, 3), _framed(5, 252)):
    np.testing.assert_array_equal(in_polarity(images, "never", "toys"), images)
    np.testing.assert_array_equal(in_polarity(images, "always", "toys"), 255 - images)


def test_a_picture_that_a_phone_noted_as_turned_is_turned(tmp_path: Path):
  pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
  exif = Image.Exif()
  exif[0x0112] = 6  # turn by 90° clockwise to view
  Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
  found = read_image(files.as_path(tmp_path / "a.png"))
  np.testing.assert_array_equal(found[..., 0], np.rot90(pixels, -1))
