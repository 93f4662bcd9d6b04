"""Image files: which files are images, and what is in them."""

import functools
import os
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mcdi_jax.data.images import as_bytes, as_image
from mcdi_jax.data.names import listed, natural_key, printable
from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE

LARGE = 2**24  # pixels; above, an image is reduced by a whole factor as it is read
# Formats that Pillow names and does not draw, or draws by starting another program.
_NOT_DRAWN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Of systems and tools: .git, @eaDir, __MACOSX; a sign such as @ alone may be a class.
_HELPER = re.compile(r"\..*|@\w.*|__\w.*|#recycle|\$RECYCLE\.BIN|lost\+found")


def walk(root: Path) -> list[tuple[Path, list[Path]]]:
  """`root` and every folder below it, each with its image files, in natural order.

  Left out, with a line that says so: helper folders, links that lead back to a folder
  above them, files that are no images. Hidden files are left out.
  """
  found: list[tuple[Path, list[Path]]] = []
  left_out: dict[str, list[str]] = {}

  def visit(folder: Path, above: tuple[str, ...]) -> None:
    above = (*above, os.path.realpath(folder))
    images, folders = [], []
    for path in _inside(folder):
      is_folder = path.is_dir()
      if kind := _no_part(path, is_folder, above):
        left_out.setdefault(kind, []).append(printable(str(path.relative_to(root))))
      else:
        (folders if is_folder else images).append(path)
    found.append((folder, images))
    for path in folders:
      visit(path, above)

  visit(root, ())
  for kind, names in left_out.items():
    CONSOLE.print(f"{root}: left out {kind} ({len(names)}): {listed(names)}")
  return found


def _inside(folder: Path) -> list[Path]:
  """What is in a folder, in natural order; no hidden files."""
  try:
    inside = sorted(folder.iterdir(), key=lambda p: natural_key(p.name))
  except PermissionError:
    raise InputError(
      f"the folder {printable(str(folder))} may not be read: change its permissions, or "
      "move it away"
    ) from None
  return [p for p in inside if not p.name.startswith(".") or p.is_dir()]


def _no_part(path: Path, is_folder: bool, above: tuple[str, ...]) -> str:
  """What it is, if it is no part of a set of images."""
  if not is_folder:
    return "" if is_image(path) else "files that are no images"
  if _HELPER.fullmatch(path.name):
    return "helper folders"
  real = os.path.realpath(path)
  return "links that lead back" if any(_holds(real, a) for a in above) else ""


def _holds(folder: str, other: str) -> bool:
  return other == folder or other.startswith(folder.rstrip("/") + "/")


@functools.cache
def _formats() -> tuple[frozenset[str], tuple[str, ...]]:
  """Suffixes of the formats that are drawn; those that can be told by their content."""
  suffixes = Image.registered_extensions()  # which loads every format
  drawn = {name: accept for name, (_, accept) in Image.OPEN.items()}
  drawn = {name: accept for name, accept in drawn.items() if name not in _NOT_DRAWN}
  told = tuple(name for name, accept in drawn.items() if accept)
  return frozenset(s for s, name in suffixes.items() if name in drawn), told


def is_image(path: Path) -> bool:
  """By the suffix, where it is that of a format that Pillow draws; else by the content."""
  suffixes, told = _formats()
  special = os.path.exists(path) and not os.path.isfile(path)  # a pipe is waited for
  if path.name.startswith(".") or special:
    return False
  if path.suffix.lower() in suffixes:
    return True
  try:
    with warnings.catch_warnings(), path.open("rb") as f:
      warnings.simplefilter("ignore")
      with Image.open(f, formats=told):
        return True
  except Exception:  # whatever a decoder makes of a file that is none of its own
    return False


class ImageFiles(NamedTuple):
  """images: what was read, one a path. bad: the reason, by each file that cannot be."""

  images: list[np.ndarray]
  paths: list[Path]
  bad: dict[Path, str]


def read_images(
  paths: list[Path], form: Callable[[np.ndarray], np.ndarray] = lambda image: image
) -> ImageFiles:
  """Reads what can be read, each brought to a `form` at once; says where a file holds
  several frames, and where one was reduced."""
  found = ImageFiles([], [], {})
  framed, reduced = [], []
  for path in paths:
    try:
      image, frames, factor = _read(path)
    except DamagedError as error:
      found.bad[path] = str(error)
      continue
    found.images.append(form(image))
    found.paths.append(path)
    if frames > 1:
      framed.append(printable(path.name))
    if factor > 1:
      reduced.append(f"{printable(path.name)} by {factor}")
  for names, what in (
    (framed, "have several frames: the first is taken"),
    (reduced, f"have more than {LARGE // 2**20} million pixels: reduced as they are read"),
  ):
    if names:
      line = f"{len(names)} of {len(paths)} images {what} ({listed(names)})"
      CONSOLE.print(line)
  return found


def unreadable(bad: dict[Path, str]) -> DamagedError:
  """One sentence on all of them."""
  named = {printable(str(path)): reason for path, reason in bad.items()}
  if len(named) == 1:
    ((path, reason),) = named.items()
    return DamagedError(
      f"{path} cannot be read as an image ({reason}): remove it or save it again"
    )
  each = ", ".join(f"{path} ({reason})" for path, reason in named.items())
  return DamagedError(
    f"{len(named)} files cannot be read as images: remove or save again {each}"
  )


def read_image(path: Path) -> np.ndarray:
  """uint8 [h, w, c] of the first frame (`as_image`); c = 1 where all is grey, else 3.

  Above `LARGE` pixels, the area mean by the least whole factor that gets below it.

  Raises:
    DamagedError: no image, or one that is cut short.
  """
  try:
    return _read(path)[0]
  except DamagedError as error:
    raise unreadable({path: str(error)}) from None


def _read(path: Path) -> tuple[np.ndarray, int, int]:
  """The image, its frames, the factor; `DamagedError` holds the reason alone."""
  try:
    with warnings.catch_warnings(), path.open("rb") as f:
      warnings.simplefilter("ignore")  # of large images among others: memory is bounded
      with Image.open(f) as image:
        ImageOps.exif_transpose(image, in_place=True)  # phones turn pictures by a note
        small = _eight_bits(image)
        factor = int(np.ceil(np.sqrt(small.width * small.height / LARGE)))
        small = small.reduce(factor) if factor > 1 else small
        pixels = as_image(np.asarray(small))
        return pixels, _frames(image), factor  # counting them goes on to the last
  except Image.UnidentifiedImageError:
    reason = "its content is of no known format"
  except Exception as error:  # decoders of broken content raise all kinds
    reason = " ".join(str(error).replace(str(path), "it").split()) or type(error).__name__
  raise DamagedError(printable(reason))


def _frames(image: Image.Image) -> int:
  """1 where they cannot be counted; MPO are phones' pictures with their previews."""
  try:
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
  except Exception:  # a later one is broken
    return 1


def _eight_bits(image: Image.Image) -> Image.Image:
  """In mode L, RGB or RGBA."""
  if image.mode.startswith(("I", "F")):  # 16 bits and more, as scanners write them
    pixels = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
      pixels = pixels.astype(np.uint16)
    return Image.fromarray(as_bytes(pixels))
  mode = "L" if image.mode in ("1", "L") else "RGB"
  mode = "RGBA" if image.has_transparency_data else mode
  image.load()
  return image if image.mode == mode else image.convert(mode)
