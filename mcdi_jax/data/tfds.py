"""Image-classification sets of TensorFlow Datasets, read without TensorFlow.

Only reading is free of it, and only of array_record files; preparing a set is done once,
in an environment of its own, by the command that the errors quote.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import logging

from mcdi_jax.data.images import as_image
from mcdi_jax.data.names import printable
from mcdi_jax.data.raw import Raw, stacked
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.progress import Bar


def prepare_command(name: str, data_dir: str = "") -> str:
  """What prepares a set in an environment to throw away; in Python, because the command
  `tfds build` also wants Apache Beam."""
  where = f"data_dir='{data_dir}', " if data_dir else ""
  return (
    "python3 -m venv tfds-env && tfds-env/bin/pip install tensorflow tensorflow-datasets "
    'array_record && tfds-env/bin/python -c "import tensorflow_datasets as tfds; '
    f"tfds.builder('{name}', {where}file_format='array_record').download_and_prepare()\""
  )


def read_tfds(
  name: str,
  data_dir: str,
  form: Callable[[np.ndarray], np.ndarray],
  *,
  parts: tuple[str, ...] = (),
) -> Raw:
  """The images of a set's splits, merged.

  Args:
    name: as TFDS knows it, such as `omniglot` or `cifar10:3.0.2`.
    data_dir: where it was prepared; empty: TFDS's own default.
    form: what each image [h, w, c] is brought to.
    parts: TFDS splits to merge; empty: all that are there, of which those named small…
      are left out, as they repeat others.

  Raises:
    MissingError: the set is not in `data_dir`.
    InputError: it is no image-classification set, or its files are not array_record.
    DamagedError: a record cannot be read.
  """
  builder = _prepared(name, data_dir)
  image, label = _feature_names(builder, name)
  there = sorted(builder.info.splits, key=_reading_order)
  chosen = parts or tuple(s for s in there if not s.startswith("small")) or tuple(there)
  unknown = [s for s in chosen if s not in there]
  if unknown:
    raise InputError(f"config.data.parts has {unknown[0]!r}: {name} has the splits {there}")
  images, labels = [], []
  total = sum(builder.info.splits[s].num_examples for s in chosen)
  with Bar(f"reading {name}", total) as bar:
    for part in chosen:
      for record in _records(builder, part, name):
        images.append(form(_as_image(record[image], name)))
        labels.append(int(record[label]))
        bar.update(len(images))
      if min(labels, default=0) < 0:
        raise InputError(
          f"{name}/{part} has images without a label: set config.data.parts to others of "
          f"the splits {there}"
        )
  names = builder.info.features[label].names
  present, dense = np.unique(labels, return_inverse=True)
  classes = tuple(printable(names[i]) for i in present)
  return Raw(stacked(images, name), dense.astype(np.int32), classes, None, builder.name)


def _reading_order(split: str) -> tuple[bool, str]:
  return split != "train", split


def _prepared(name: str, data_dir: str) -> Any:
  """The builder of a set that is there in a form that can be read."""
  import tensorflow_datasets as tfds
  from google.protobuf import json_format

  if not name:
    raise InputError(
      "config.data.name is '': name a TFDS set, such as --data tfds:omniglot"
    )
  where = str(files.as_path(data_dir)) if data_dir else None
  shown = where or str(files.as_path("~/tensorflow_datasets"))
  remedy = f"prepare it once with: {prepare_command(name, where or '')}"
  there = _names_in(files.as_path(shown))
  unknown = (tfds.core.registered.DatasetNotFoundError, AssertionError, ImportError)
  try:
    builder = tfds.builder(name, data_dir=where)
  except (*unknown, ValueError, FileNotFoundError):
    builder = None
  except json_format.ParseError:
    raise DamagedError(
      f"the dataset_info.json of {name} in {shown} is damaged: delete its folder there, "
      f"and {remedy}"
    ) from None
  if builder is None or not builder.info.splits:
    raise MissingError(
      f"there is no TFDS set {name!r} in {shown}, which has {there}: set --data_dir, or "
      f"{remedy}"
    )
  form = builder.info.file_format
  if form is None or form.value != "array_record":
    beside = f"{shown}-array_record"  # in the same place TFDS refuses another form
    raise InputError(
      f"{name} in {shown} is stored as {form and form.value}, which only TensorFlow reads: "
      f"set --data_dir {beside}, and prepare it there once with: "
      f"{prepare_command(name, beside)}"
    )
  return builder


def _names_in(data_dir: files.Path) -> list[str]:
  if not data_dir.is_dir():
    return []
  return sorted(p.name for p in data_dir.iterdir() if p.is_dir() and p.name != "downloads")


def _feature_names(builder: Any, name: str) -> tuple[str, str]:
  """The keys of image and label: those of supervised training, else the only ones."""
  import tensorflow_datasets as tfds

  features = builder.info.features
  kinds = (tfds.features.Image, tfds.features.ClassLabel)
  found = tuple(builder.info.supervised_keys or ())[:2]
  if len(found) != 2 or not all(isinstance(key, str) for key in found):
    each = [[k for k, f in features.items() if isinstance(f, kind)] for kind in kinds]
    found = tuple(keys[0] for keys in each if len(keys) == 1)
  if len(found) != 2 or not all(map(isinstance, (features[k] for k in found), kinds)):
    raise InputError(
      f"{name} is no image-classification set: its features are {sorted(features)}"
    )
  return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without the advice to install OpenCV."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def _records(builder: Any, part: str, name: str) -> Any:
  """Every record, counted: a file cut at a block's end would read as empty fields."""
  with warnings.catch_warnings(), _quiet():
    warnings.simplefilter("ignore")
    source = builder.as_data_source(part)
    for i in range(len(source)):
      try:
        record = source[i]
      except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedError(
          f"record {i} of {name}/{part} cannot be read ({reason}): prepare the set anew"
        ) from None
      yield record


def _as_image(value: Any, name: str) -> np.ndarray:
  image = np.asarray(value)
  if image.dtype.kind not in "uf" or image.ndim != 3:
    raise DamagedError(
      f"an image of {name} is {image.dtype} {image.shape}, not uint8 [h, w, c]: prepare "
      "the set anew"
    )
  return as_image(image)
