"""Data by setting: TFDS by name, a folder of class folders, an `.npz`, or the embedded
glyphs; split into training, validation and test classes."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from mcdi_jax.data.class_lists import SPLITS, order_by_list
from mcdi_jax.data.class_set import ClassSet, from_labels, twins
from mcdi_jax.data.folder import read_folder
from mcdi_jax.data.glyphs import glyphs
from mcdi_jax.data.npz import read_npz
from mcdi_jax.data.raw import Raw, in_canonical_order, in_form, in_polarity, say_blank
from mcdi_jax.data.texts import are_texts
from mcdi_jax.data.tfds import read_tfds
from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE

_SHARES = (0.64, 0.16, 0.20)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where the images come from, and the form that they are brought to.

  Attributes:
    source: `tfds` reads the set `name`; `folder` reads a folder of class folders; `npz`
      an archive; `texts` a `.jsonl`; `glyphs` draws characters and needs no file.
    path: the folder; the `.jsonl`; the `.npz` with `images` [n, h, w, c], `labels` [n]
      and optionally `classes` and `class_split` (`read_npz`); TFDS's data_dir (empty: its
      default).
    name: of a TFDS set.
    parts: TFDS splits to merge; empty: all.
    grey: colours become one channel.
    invert: `auto` inverts dark ink on bright ground, image by image; `always`, `never`.
    size: pixels a side after a resize by area mean; 0: as they are.
    class_split: which classes are for train, val and test: a list that ships with the
      package (`omniglot`), a table (split, tab, class name), or another array of the `.npz`
      whose name begins so, as `class_split_superclass`. Empty: as the `.npz` or folders
      train/, val/ and test/ say, else at random.
    split_seed: of the random split, 64/16/20 %.
    rotations: add the images turned by 90°, 180° and 270° as classes of their own, in
      meta-training and validation. The test classes are evaluated both ways.
    glyph_classes: classes to draw for train, val and test.
    glyph_drawings: drawings a class.
  """

  source: Literal["tfds", "folder", "npz", "texts", "glyphs"] = "glyphs"
  path: str = ""
  name: str = ""
  parts: tuple[str, ...] = ()
  grey: bool = False
  invert: Literal["never", "auto", "always"] = "never"
  size: int = 0
  class_split: str = ""
  split_seed: int = 0
  rotations: bool = False
  glyph_classes: tuple[int, ...] = (800, 100, 200)
  glyph_drawings: int = 20

  def __post_init__(self):
    check(self.size >= 0, "config.data.size", self.size, "give pixels, or 0 to keep them")


def source_settings(data: str, data_dir: str = "") -> dict[str, str]:
  """The settings that a command's `--data` stands for: a folder, an `.npz`, `tfds:NAME`
  (in `data_dir`), a `.jsonl` of texts, or `glyphs`.

  Raises:
    MissingError: none of these.
  """
  if not data.strip():
    raise MissingError("--data is empty: give a folder, an .npz, a .jsonl or tfds:NAME")
  if data == "glyphs":
    return {"source": "glyphs"}
  if data.startswith("tfds:"):
    return {"source": "tfds", "name": data.removeprefix("tfds:"), "path": data_dir}
  if data.endswith(".npz"):
    return {"source": "npz", "path": data}
  if files.as_path(data).is_dir():
    return {"source": "folder", "path": data}
  if are_texts(data):
    return {"source": "texts", "path": data}
  raise MissingError(
    f"--data {data!r} is no folder, .npz or .jsonl: for a TFDS set write --data tfds:{data}"
  )


class Splits(NamedTuple):
  """Class-disjoint sets and what identifies them; features of several domains have each
  class once for each domain, in groups.

  Attributes:
    classes: the names of the classes of train, val and test.
    name: for results, such as `omniglot`.
    digest: sha256 of the content: the same from whatever source it was read.
    domains: of the classes of train, val and test, where there are domains.
  """

  train: ClassSet
  val: ClassSet
  test: ClassSet
  classes: tuple[tuple[str, ...], ...]
  name: str
  digest: str
  domains: tuple[tuple[str, ...], ...] = ()

  @property
  def of_features(self) -> bool:
    return len(self.image_shape) == 1

  @property
  def image_shape(self) -> tuple[int, ...]:
    """Of one item: (h, w, c), or (D,) where they are features."""
    return tuple(self.train.x.shape[1:])


def load_splits(config: DataConfig) -> Splits:
  """Raises `MissingError`, `DamagedError` or `InputError` where there is no such data."""
  if config.source == "glyphs":
    return _glyphs(config)
  raw = load_raw(config)
  if raw.of_features:
    return split_raw(raw, config, by_domain=True)
  say_blank(raw)
  images = in_polarity(raw.images, config.invert, raw.name)
  return split_raw(raw._replace(images=images), config)


def load_images(config: DataConfig) -> Splits:
  """The same, of images alone."""
  splits = load_splits(config)
  if splits.of_features:
    raise InputError(
      f"{splits.name} holds features, not images: take configs/transfer.py, or give images"
    )
  return splits


def load_raw(
  config: DataConfig, form: Callable[[np.ndarray], np.ndarray] | None = None
) -> Raw:
  """A set as its source has it, not split; glyphs are drawn by `load_splits`.

  Args:
    form: what each image [h, w, c] of a folder or a TFDS set, which may have any size, is
      brought to; None: what the config says.
  """
  remedies = {
    "glyphs": "they are drawn, and belong to no file: give images",
    "texts": "launch.embed makes features of them, and configs/documents.py adapters",
  }
  known = config.source not in remedies
  remedy = remedies.get(config.source, "")
  check(known, "config.data.source", config.source, remedy)
  asked = {"size": config.size, "grey": config.grey}
  form = form or functools.partial(in_form, **asked)
  sources: dict[str, Callable[[], Raw]] = {
    "tfds": lambda: read_tfds(config.name, config.path, form, parts=config.parts),
    "folder": lambda: read_folder(config.path, form),
    "npz": lambda: read_npz(config.path, split=_array(config) or "class_split", **asked),
  }
  return sources[config.source]()


def _array(config: DataConfig) -> str:
  """The array of an `.npz` that is asked for as the split of its classes; empty: none."""
  named = config.source == "npz" and config.class_split.startswith("class_split")
  return config.class_split if named else ""


def split_raw(raw: Raw, config: DataConfig, *, by_domain: bool = False) -> Splits:
  """The classes in the order of the list that splits them, else in natural order.

  Args:
    by_domain: whether the items of a class in each of its domains, where there are some,
      are a class of their own.
  """
  raw = in_canonical_order(raw)
  order, split = np.arange(len(raw.classes)), raw.split
  own = bool(config.class_split) or split is not None
  if config.class_split and not _array(config):
    order, split = order_by_list(config.class_split, raw.classes)
  elif not own:
    split = _random_split(len(raw.classes), config.split_seed)
    counts = "/".join(str(n) for n in np.bincount(split, minlength=3))
    CONSOLE.print(
      f"{raw.name}: {counts} classes for train/val/test, by split_seed {config.split_seed}"
    )
  place = np.searchsorted(raw.labels, np.arange(len(raw.classes) + 1))
  digest = hashlib.sha256(repr(raw.images.shape[1:]).encode())
  sets, names, domains = [], [], []
  for s, name in enumerate(SPLITS):
    chosen = order[split == s]
    if not len(chosen):
      remedy = (
        "give it some" if own else f"its {len(order)} classes are too few, bring more"
      )
      raise InputError(
        f"the class split of {raw.name} leaves no class for {name}: {remedy}"
      )
    where = np.concatenate([np.arange(place[c], place[c + 1]) for c in chosen])
    x, called = raw.images[where], tuple(raw.classes[c] for c in chosen)
    labels = np.repeat(np.arange(len(chosen)), place[chosen + 1] - place[chosen])
    if by_domain and raw.domain is not None:
      items, called, of_class = in_domains(x, labels, raw.domain[where], called)
      domains.append(of_class)
      digest.update(repr(raw.domain[where].tolist()).encode())
    else:
      items = from_labels(x, labels)
    sets.append(items)
    names.append(called)
    digest.update(x.tobytes() + labels.astype(np.int32).tobytes())
  told = tuple(names), raw.name, digest.hexdigest(), tuple(domains)
  return Splits(*sets, *told)


def in_domains(
  x: np.ndarray, labels: np.ndarray, domain: np.ndarray, classes: tuple[str, ...]
) -> tuple[ClassSet, tuple[str, ...], tuple[str, ...]]:
  """A class for each pair of class and domain, their names and their domains, which are
  groups."""
  domains, numbers = np.unique(domain, return_inverse=True)
  pairs, dense = np.unique(numbers * len(classes) + labels, return_inverse=True)
  group, kind = np.divmod(pairs, len(classes))
  own_twins = twins(group, kind)
  items = from_labels(x, dense)._replace(group=np.int32(group), twins=own_twins)
  own = [divmod(pair, len(classes)) for pair in pairs.tolist()]
  named = tuple(f"{classes[c]}, {domains[d]}" for d, c in own)
  return items, named, tuple(str(domains[d]) for d, _ in own)


def _random_split(classes: int, seed: int) -> np.ndarray:
  order = np.random.default_rng(seed).permutation(classes)
  bounds = np.round(np.cumsum(_SHARES)[:-1] * classes).astype(int)
  split = np.empty(classes, np.int64)
  for s, part in enumerate(np.split(order, bounds)):
    split[part] = s
  return split


def _glyphs(config: DataConfig) -> Splits:
  counts, drawings = config.glyph_classes, config.glyph_drawings
  fit = len(counts) == 3 and min(counts) >= 1
  remedy = "give three counts of at least 1, for train, val and test"
  check(fit, "config.data.glyph_classes", counts, remedy)
  check(drawings >= 1, "config.data.glyph_drawings", drawings, "give at least 1")
  key, number = key_for(config.split_seed, "glyphs"), config.glyph_drawings
  drawn = glyphs(key, classes=sum(counts), per_class=number)
  ends = np.cumsum(counts)[:-1]
  sets = [
    from_labels(x, np.repeat(np.arange(len(x) // number), number))
    for x in np.split(drawn.x, ends * number)
  ]
  names = np.split(np.arange(sum(counts)).astype(str), ends)
  identity = (config.split_seed, counts, drawings)
  digest = hashlib.sha256(f"glyphs-2 {identity}".encode()).hexdigest()
  return Splits(*sets, tuple(map(tuple, names)), name="glyphs", digest=digest)
