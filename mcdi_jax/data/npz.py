"""An `.npz` of images, or of features, and labels."""

import zipfile
import zlib
from collections import Counter

import numpy as np

from mcdi_jax.data.images import as_bytes, as_image
from mcdi_jax.data.names import printable
from mcdi_jax.data.raw import Raw, in_form, stacked
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE

LARGEST = 1e15  # of a feature: squares of some hundreds of them stay within float32
_ARRAYS = (
  "images",
  "features",
  "labels",
  "classes",
  "class_split",
  "domain",
  "domains",
  "encoder",
)


def read_npz(
  path: str,
  *,
  size: int,
  grey: bool,
  split: str = "class_split",
  setting: str = "config.data.path",
) -> Raw:
  """`images` [n, h, w, c], [n, h, w] or [n, c, h, w], of numbers as `as_bytes` takes them,
  or `features` [n, D] of floats; `labels` [n], whole numbers or names; optionally
  `classes`, the names of labels 0..C−1, `class_split`, 0/1/2 for each class in the order
  of its label, `domain`, a name or number for each item, `domains`, the names of such
  numbers, and `encoder`, what made the features.

  Without `classes` the labels are the names, whatever numbers they are.

  Args:
    split: the array that is taken for `class_split`; another one must be there.
    setting: where the path was given, for errors.

  Raises:
    MissingError, DamagedError, InputError: no such file, or not this content.
  """
  place, content = _opened(path, setting, split)
  if split != "class_split" and split not in content:
    raise InputError(
      f"config.data.class_split is {split!r}: {path} holds {sorted(content)}, so name one "
      "of its arrays, or leave the setting empty"
    )
  content["class_split"] = content.pop(split, None)
  if "features" in content:
    return _of_features(content, path)
  images = _images(_array_of(content, "images", path), path)
  labels, classes, split = _labelled(content, len(images), path)
  plain = images.shape[-1] not in (3, 4) and not size
  if not plain:  # one by one: in the arithmetic a large set takes many times its size
    images = stacked([in_form(as_image(image), size, grey) for image in images], path)
  elif grey:
    images = in_form(images, 0, grey)
  domain = _domain(content, len(images), path)
  return Raw(images, labels, classes, split, place.stem, domain=domain)


def read_features(path: str, *, setting: str, labelled: bool = True) -> Raw:
  """The same of features alone.

  Args:
    labelled: whether there must be labels; else one class stands for all items.

  Raises:
    InputError: it holds images.
  """
  _, content = _opened(path, setting)
  if "features" not in content:
    raise InputError(
      f"{setting} {path} has no array 'features': it holds {sorted(content)}, and "
      "launch.embed makes features of images"
    )
  if not labelled:
    number = len(np.atleast_1d(content["features"]))
    if not number:
      raise InputError(f"{setting} {path} has no item: there is nothing to label")
    content["labels"] = np.zeros(number, np.int32)
    content = {n: x for n, x in content.items() if n not in ("classes", "class_split")}
  return _of_features(content, path)


def _opened(
  path: str, setting: str, split: str = "class_split"
) -> tuple[Path, dict[str, np.ndarray]]:
  place = files.as_path(path)
  if not path or not place.exists():
    remedy = " with --data PATH" if setting == "config.data.path" else ""
    raise MissingError(
      f"{setting} is {path!r}, where there is no file: give an .npz{remedy}"
    )
  return place, _read_archive(place, setting, (*_ARRAYS, split))


def _array_of(content: dict[str, np.ndarray], name: str, path: str) -> np.ndarray:
  if name not in content:
    raise InputError(f"{path} has no array {name!r}: it holds {sorted(content)}")
  return content[name]


def _of_features(content: dict[str, np.ndarray], path: str) -> Raw:
  x = _features(content["features"], path)
  labels, classes, split = _labelled(content, len(x), path)
  if len(classes) > 1 and (x == x[0]).all():
    raise InputError(f"features in {path} are all the same: they tell no class apart")
  domain = _domain(content, len(x), path)
  encoder = printable("".join(map(str, np.ravel(content.get("encoder", "")))))
  name = files.as_path(path).stem
  return Raw(x, labels, classes, split, name, domain=domain, encoder=encoder)


def _labelled(
  content: dict[str, np.ndarray], number: int, path: str
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray | None]:
  """Labels int32 [n] in 0..C−1, the names of the classes, and their split, if any."""
  labels = _array_of(content, "labels", path)
  if labels.shape != (number,) or not number:
    raise InputError(
      f"labels in {path} are {labels.dtype} {labels.shape}: one for each of {number} items "
      "is needed"
    )
  labels, classes, kept, known = _classes(labels, content.get("classes"), path)
  split = content.get("class_split")
  if split is not None:
    if split.shape != (known,) or not np.isin(split, (0, 1, 2)).all():
      raise InputError(f"class_split in {path} must hold 0, 1 or 2 for {known} classes")
    split = split[kept]
  return labels, classes, split


def _read_archive(
  path: Path, setting: str, wanted: tuple[str, ...]
) -> dict[str, np.ndarray]:
  """The arrays that are used here, others by name alone."""
  try:
    with path.open("rb") as f:
      archive = np.load(f)
      if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DamagedError(f"{setting} {path} is a single array: give an .npz")
      return {
        n: _array(archive, n, path) if n in wanted else np.empty(0) for n in archive.files
      }
  except InputError:
    raise
  except (OSError, EOFError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
    raise DamagedError(f"{setting} {path} cannot be read: {error}") from None
  except ValueError as error:
    reason = "" if "pickle" in str(error) else f" ({error})"  # numpy's hint: to load it so
    raise DamagedError(f"{setting} {path} is no .npz{reason}: give one") from None


def _array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
  try:
    found = archive[name]
  except ValueError as error:
    if "pickle" not in str(error):
      raise
    raise InputError(
      f"the array {name!r} in {path} holds Python objects, which could be any program: "
      "save it as an array of numbers or text, such as np.asarray(list(x))"
    ) from None
  if not isinstance(found, np.ndarray):
    raise InputError(f"{name!r} in {path} is no array: save it with np.savez")
  return found


def _images(images: np.ndarray, path: str) -> np.ndarray:
  """uint8 [n, h, w, c]."""
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or not all(images.shape[1:]):
    raise InputError(
      f"images in {path} are {images.dtype} {images.shape}: [n, h, w, c] is needed"
    )
  if images.shape[1] in (1, 3, 4) and images.shape[3] > 4:
    CONSOLE.print(f"{path}: images {images.shape} are read as [n, c, h, w]")
    images = np.moveaxis(images, 1, -1)
  try:
    return as_bytes(images)
  except InputError as error:
    raise InputError(f"images in {path}: {error}") from None


def _features(features: np.ndarray, path: str) -> np.ndarray:
  """float32 [n, D]."""
  if features.ndim != 2 or features.dtype.kind != "f" or features.shape[1] < 2:
    raise InputError(
      f"features in {path} are {features.dtype} {features.shape}: floats [n, D] are needed"
    )
  with np.errstate(over="ignore"):
    features = features.astype(np.float32)
  bad = np.flatnonzero(~np.isfinite(features).all(1))
  if len(bad):
    raise InputError(
      f"features in {path} have NaN or infinite values in {len(bad)} rows, the first is "
      f"{bad[0]}: leave these items out"
    )
  most = float(np.abs(features).max(initial=0))
  if most > LARGEST:
    raise InputError(
      f"features in {path} have values up to {most:.0e}, whose squares are too large for "
      "float32: divide them"
    )
  return features


def _domain(content: dict[str, np.ndarray], number: int, path: str) -> np.ndarray | None:
  """Names [n]; those of numbers may stand in `domains`."""
  domain, names = content.get("domain"), content.get("domains")
  if domain is None:
    return None
  if domain.shape != (number,):
    raise InputError(f"domain in {path} is {domain.shape}: one for each item is needed")
  if names is not None and names.ndim != 1:
    raise InputError(f"domains in {path} is {names.dtype} {names.shape}: names are needed")
  domain = _whole(domain, path, "domain")
  if names is not None and domain.dtype.kind in "iu":
    if domain.min() < 0 or domain.max() >= len(names):
      raise InputError(
        f"domain in {path} runs from {domain.min()} to {domain.max()}: domains has "
        f"{len(names)} names"
      )
    domain = _whole(names, path, "domains")[domain]
  return np.array([printable(str(name)) for name in domain])


def _classes(
  labels: np.ndarray, names: np.ndarray | None, path: str
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, int]:
  """Labels int32 in 0..C−1, the C names, their places among all classes that the file
  knows of, and how many these are."""
  values = _whole(labels, path)
  present, dense = np.unique(values, return_inverse=True)
  dense = dense.astype(np.int32)
  if names is None:
    classes = tuple(printable(str(v)) for v in present)
    return dense, classes, np.arange(len(classes)), len(classes)
  if names.ndim != 1:
    raise InputError(f"classes in {path} is {names.dtype} {names.shape}: names are needed")
  known = tuple(printable(str(v)) for v in _whole(names, path, "classes"))
  twice = [name for name, number in Counter(known).items() if number > 1]
  if twice:
    raise InputError(f"classes in {path} has {twice[0]!r} twice: give each its own name")
  if values.dtype.kind == "U":
    place = {name: i for i, name in enumerate(known)}
    kept = [place.get(printable(str(v)), -1) for v in present]
    strange = [str(v) for v, i in zip(present, kept, strict=True) if i < 0]
  else:
    strange = [int(v) for v in present if not 0 <= v < len(known)]
    kept = [] if strange else present.tolist()
  if strange:
    raise InputError(
      f"labels in {path} has {strange[0]!r}, and classes must hold a name for each label: "
      f"number the labels 0..{len(known) - 1}, or leave classes out"
    )
  if len(kept) < len(known):
    number = len(known) - len(kept)
    CONSOLE.print(f"{path}: {number} classes have no image: left out")
  return dense, tuple(known[i] for i in kept), np.asarray(kept), len(known)


def _whole(values: np.ndarray, path: str, array: str = "labels") -> np.ndarray:
  """Names as text, or whole numbers as integers."""
  kind = values.dtype.kind
  if kind == "U":
    return values
  if kind == "S":
    return np.char.decode(values, "utf-8", "surrogateescape")
  if kind == "f" and (values == np.rint(values)).all() and (abs(values) < 2**53).all():
    values, kind = values.astype(np.int64), "i"
  if kind not in "iub":
    raise InputError(
      f"{array} in {path} are {values.dtype} such as {values.flat[0]}: whole numbers or "
      "names are needed"
    )
  if kind == "i" and array == "labels" and values.min() < 0:
    raise InputError(
      f"labels in {path} has {values.min()} for {(values < 0).sum()} images: number "
      "classes from 0, and leave out images without a label"
    )
  return values.astype(np.int64) if kind == "b" else values
