"""A folder of class folders: every folder that holds images is a class.

A level of folders that is no class (train/, val/, test/, or support/, query/; above the
classes or inside them) is told by its names, where no other folder stands beside them.
Lists train.csv, val.csv and test.csv take the place of folders (`listed.py`).
"""

import re
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from mcdi_jax.data.image_files import read_images, unreadable, walk
from mcdi_jax.data.listed import ClassFolder, listed_classes
from mcdi_jax.data.names import listed, natural_key, printable
from mcdi_jax.data.raw import Raw, stacked
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.progress import CONSOLE

_SPLITS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1}
_SPLITS |= {"test": 2, "testing": 2}
_ROLES = {"support": "support", "supports": "support", "query": "query", "queries": "query"}


def class_folders(root: PathLike) -> list[ClassFolder]:
  """The folders with images, in natural order of their classes; several may be one class,
  at different levels. Where lists say which images there are, these stand for folders.

  Raises:
    MissingError: no such folder.
    InputError: fewer than two classes, a folder without images, images without a class.
  """
  root = files.as_path(root)
  if not root.is_dir():
    raise MissingError(f"there is no folder {root}: give one that has a folder a class")
  if of_lists := listed_classes(root):
    return of_lists
  found = {f.relative_to(root).parts: images for f, images in walk(root)}
  parents = {parts[:-1] for parts in found if parts}
  for parts, images in found.items():
    if parts and not images and parts not in parents:
      raise InputError(
        f"the folder {printable(str(root.joinpath(*parts)))} has no image that Pillow "
        "can open: add some, or remove it"
      )
  levels = _levels({parts for parts, images in found.items() if images}, root)
  placed, loose = [], []
  for parts, images in found.items():
    level = [p for i, p in enumerate(parts) if parts[:i] in levels]
    name = [p for i, p in enumerate(parts) if parts[:i] not in levels]
    if images and name:
      placed.append(ClassFolder(printable("/".join(name)), "/".join(level), images))
    elif images:
      loose += images
  names = {folder.name for folder in placed}
  if len(names) < 2:
    has = f"the class {next(iter(names))!r} alone" if names else "no folder with images"
    if loose:
      has = f"{len(loose)} images that lie outside of any class folder, and {has}"
    raise InputError(
      f"{root} has {has}: at least two classes are needed, each a folder of images (.png, "
      ".jpg or any other that Pillow can open)"
    )
  if loose:
    raise InputError(
      f"{printable(str(loose[0]))} lies outside of any class folder: move it into one, or "
      "remove it"
    )
  return sorted(placed, key=lambda folder: natural_key(folder.name))


def _levels(paths: set[tuple[str, ...]], root: Path) -> set[tuple[str, ...]]:
  """The folders whose folders are all named as parts of a set.

  Raises:
    InputError: one that is named so, and holds folders alone, stands beside others: it is
      hardly a class.
  """
  below = defaultdict(set)
  for parts in paths:
    for i, part in enumerate(parts):
      below[parts[:i]].add(part)
  found = set()
  for folder, names in below.items():
    parts_of_set = {name for name in names if _part(name) in _SPLITS | _ROLES}
    kinds = {_part(name) for name in names}
    if kinds <= _SPLITS.keys() or kinds <= _ROLES.keys():
      found.add(folder)
    elif strange := sorted(n for n in parts_of_set if (*folder, n) not in paths):
      others = [f"{printable(n)}/" for n in sorted(names - {strange[0]})]
      raise InputError(
        f"{printable(str(root.joinpath(*folder)))} has {printable(strange[0])}/, a level "
        f"of folders, beside {listed(others)}: name all of them train/, val/, test/, or "
        "support/, query/, or give one of them alone"
      )
  return found


def _part(name: str) -> str:
  """The part of a set that a folder is named as, such as train for Meta-Train and
  train_set."""
  return re.sub(r"^meta[-_ ]?|[-_ ]?set$", "", name.casefold())


def read_folder(
  path: PathLike, form: Callable[[np.ndarray], np.ndarray], *, domains: bool = False
) -> Raw:
  """Every image of every class, the classes in natural order of their names.

  Classes that lie each at one of the levels train/, val/ and test/ are split so; those of
  one name at several levels are one class.

  Args:
    form: what each image [h, w, c] is brought to.
    domains: whether the folders in it are domains, each with folders of the same classes:
      clipart/bird/, sketch/bird/.

  Raises:
    DamagedError: files that cannot be read, all of them named.
    InputError: also a class that lies in no domain's folder.
  """
  root = files.as_path(path)
  folders = class_folders(root)
  if domains:
    domain_of, folders = _by_domain(folders, root)
  names = tuple(dict.fromkeys(folder.name for folder in folders))
  paths = [p for folder in folders for p in folder.images]
  read = read_images(paths, form)
  if read.bad:
    raise unreadable(read.bad)
  number = {name: i for i, name in enumerate(names)}
  labels = [number[folder.name] for folder in folders for _ in folder.images]
  return Raw(
    stacked(read.images, str(root)),
    np.asarray(labels, np.int32),
    names,
    _split(folders, root),
    root.name,
    tuple(printable(str(p.relative_to(root))) for p in paths),
    domain=np.asarray(domain_of) if domains else None,
  )


def _by_domain(
  folders: list[ClassFolder], root: Path
) -> tuple[list[str], list[ClassFolder]]:
  """The domain of each image, and the folders by the names of their classes alone."""
  domain_of, found = [], []
  for folder in sorted(folders, key=lambda f: natural_key(f.name.partition("/")[2])):
    domain, _, name = folder.name.partition("/")
    if not name:
      raise InputError(
        f"--domains: {printable(str(root / domain))} holds images, where a domain with a "
        "folder for each class is expected: leave --domains out, or move them"
      )
    domain_of += [domain] * len(folder.images)
    found.append(folder._replace(name=name))
  return domain_of, found


def _split(folders: list[ClassFolder], root: Path) -> np.ndarray | None:
  """int [C] of 0/1/2, where each class lies at one level of several."""
  levels = sorted({folder.level for folder in folders} - {""})
  if not levels:
    return None
  shown = listed([f"{printable(level)}/" for level in levels])
  of = {folder.name: _part(folder.level) for folder in folders}
  each = {(folder.name, folder.level) for folder in folders}  # once for all its domains
  is_split = {_part(level) for level in levels} <= _SPLITS.keys()
  if is_split and len(levels) > 1 and len(of) == len(each) and all(of.values()):
    CONSOLE.print(f"{root}: {shown} hold different classes: their split")
    return np.asarray([_SPLITS[level] for level in of.values()])
  CONSOLE.print(f"{root}: {shown} are no classes: merged by class")
  return None


def support_folders(root: PathLike) -> dict[str, list[Path]]:
  """The image files of each class of a support: where there is a level of support/ and
  query/, those in support/.

  Raises:
    InputError: also a level of train/, val/ and test/, of which one is to be given.
  """
  root = files.as_path(root)
  folders = class_folders(root)
  levels = sorted({folder.level for folder in folders} - {""})
  roles = [level for level in levels if _part(level) in _ROLES]
  if roles or len(levels) > 1:
    chosen = [level for level in roles if _ROLES[_part(level)] == "support"]
    shown = listed([f"{printable(level)}/" for level in levels])
    if len(roles) < len(levels) or not chosen:
      raise InputError(
        f"{root} has {shown} where classes are expected: give a folder of the labelled "
        "images alone with --support"
      )
    if len(levels) > 1:
      CONSOLE.print(f"{root}: of {shown} the support is taken")
    left_out = {folder.name for folder in folders}
    folders = [f for f in folders if f.level in chosen or not f.level]
    left_out -= {folder.name for folder in folders}
    if left_out:
      raise InputError(
        f"the class {min(left_out)!r} in {root} has no image in {chosen[0]}/: add some, or "
        "remove the class"
      )
  found: dict[str, list[Path]] = {}
  for folder in folders:
    found.setdefault(folder.name, []).extend(folder.images)
  return found
