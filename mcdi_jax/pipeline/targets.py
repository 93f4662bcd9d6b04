"""Whole sets that are tested on: what is in a file, and which tasks are asked of them."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.data.images import to_colour
from mcdi_jax.data.npz import read_npz
from mcdi_jax.data.raw import Raw
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.config import Config
from mcdi_jax.tasks import Protocol

_LEAST_QUERIES = 20  # a class; with fewer a set is not tested with so many shots
_WAYS = 10  # up to which there are all the tasks that are asked for


class Asked(NamedTuple):
  """Tasks of one form on one target: so many of them."""

  name: str
  test: ClassSet
  form: Protocol
  tasks: int


def content_of(raw: Raw) -> str:
  """sha256 of all that is in a set but the names of its classes."""
  digest = hashlib.sha256(raw.images.tobytes() + raw.labels.tobytes())
  for part in (raw.split, raw.domain):
    digest.update(b"" if part is None else repr(part.tolist()).encode())
  return digest.hexdigest()


def read_images(path: str, image_shape: tuple[int, ...], setting: str) -> Raw:
  """Images of any size, in grey or colour, brought to this form."""
  height, width, channels = image_shape
  if height != width:
    raise InputError(f"the images are {height}×{width}: targets are brought to square ones")
  raw = read_npz(path, size=height, grey=channels == 1, setting=setting)
  if raw.of_features:
    raise InputError(f"{setting}: {path} holds features, not images: give those")
  return raw._replace(images=to_colour(raw.images)) if channels == 3 else raw


def sets_of(raw: Raw) -> dict[str, ClassSet]:
  """The whole set, or one for each of its domains; of split classes those for test."""
  found = {}
  domains = [None] if raw.domain is None else sorted(set(raw.domain))
  for domain in domains:
    chosen = np.ones(len(raw.labels), bool) if domain is None else raw.domain == domain
    name = raw.name if domain is None else f"{raw.name}-{domain}"
    if raw.split is not None:
      chosen &= raw.split[raw.labels] == 2
    present, labels = np.unique(raw.labels[chosen], return_inverse=True)
    if len(present) < 2:
      raise InputError(f"{name} has fewer than two classes to test on: leave it out")
    found[name] = from_labels(raw.images[chosen], labels)
  return found


def add_target(
  targets: dict[str, ClassSet], path: str, raw: Raw, *, content: str, source: str
) -> None:
  """The sets of a file beside those that are there.

  Args:
    content, source: `content_of` of it, and of what is trained on.
  """
  setting = "config.features.targets"
  if content == source and raw.split is None:
    raise InputError(
      f"{setting}: {path} is the source, whose classes are trained on: leave it out, its "
      "test classes are a target"
    )
  for name, items in sets_of(raw).items():
    if name in targets:
      raise InputError(f"{setting}: two targets are called {name!r}: rename a file")
    targets[name] = items


def asked_of(config: Config, tests: dict[str, Any], most_ways: int) -> Iterator[Asked]:
  """Each target with each number of shots; what a target has too little of is told.

  Args:
    most_ways: of the family; 0: any.
  """
  settings = config.features
  all_ways = settings.ways or (0,) * len(settings.shots)
  sizes = zip(all_ways, settings.shots, settings.supports, strict=True)
  for ways, shots, supports in sizes:
    for name, test in tests.items():
      form = _form(config, name, test, ways, shots, most_ways)
      if form is not None:
        yield Asked(name, test, form, fewer_of_many_ways(supports, form.ways))


def fewer_of_many_ways(tasks: int, ways: int) -> int:
  """Of more than ten classes fewer tasks, in proportion, as each has more queries; 2 at
  least."""
  return max(2, round(tasks * min(1, _WAYS / ways)))


def _form(
  config: Config, name: str, test: ClassSet, ways: int, shots: int, most_ways: int
) -> Protocol | None:
  """As many queries of each class as the smallest has left, at most the setting."""
  left = int(test.count.min()) - shots
  if left < min(_LEAST_QUERIES, config.features.queries):
    CONSOLE.print(f"{name}: too few items a class for {shots} shots")
    return None
  if test.classes < ways:
    CONSOLE.print(f"{name}: {test.classes} classes, too few for {ways} ways")
    return None
  ways = ways or test.classes
  if most_ways and ways > most_ways:
    CONSOLE.print(
      f"{name}: {ways} classes, more than the {most_ways} that weights are generated for: "
      "set config.features.ways"
    )
    return None
  return Protocol(ways, shots, min(config.features.queries, left))
