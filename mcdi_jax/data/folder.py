"""A folder of class folders: every folder that holds images is a class."""

import numpy as np

from mcdi_jax.data.images import SUFFIXES, is_image, read_image
from mcdi_jax.data.raw import Raw, in_form, stacked
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike


def class_folders(root: PathLike) -> dict[str, list[Path]]:
  """Class names (paths below `root`, sorted) and their image files, sorted.

  Raises:
    MissingError: no such folder.
    InputError: fewer than two classes.
  """
  root = files.as_path(root)
  if not root.is_dir():
    raise MissingError(f"there is no folder {root}: give one that has a folder a class")
  found = {
    str(folder.relative_to(root)): [f for f in inside if is_image(f)]
    for folder, inside in files.folders_below(root)
  }
  loose = found.pop(".")
  parents = {str(files.Path(name).parent) for name in found}
  for name in sorted(found):
    if not found[name] and name not in parents:
      raise InputError(
        f"the folder {root / name} has no image: add some, or remove it ("
        f"{', '.join(SUFFIXES)})"
      )
  found = {name: images for name, images in found.items() if images}
  if len(found) < 2:
    has = f"the class {next(iter(found))!r} alone" if found else "no folder with images"
    if loose:
      has = f"{len(loose)} images that lie outside of any class folder, and {has}"
    raise InputError(
      f"{root} has {has}: at least two classes are needed, each a folder of images "
      f"({', '.join(SUFFIXES)})"
    )
  if loose:
    raise InputError(
      f"{loose[0]} lies outside of any class folder: move it into one, or remove it"
    )
  return found


def read_folder(path: PathLike, *, size: int, grey: bool) -> Raw:
  """Every image of every class, in the order of their names."""
  root = files.as_path(path)
  found = class_folders(root)
  images = [in_form(read_image(f), size, grey) for fs in found.values() for f in fs]
  labels = np.repeat(np.arange(len(found)), [len(fs) for fs in found.values()])
  x = stacked(images, str(root))
  return Raw(x, labels.astype(np.int32), tuple(found), None, root.name)
