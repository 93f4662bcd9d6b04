"""A generator on disk: `generator.json` (specification) and `weights/` (Orbax)."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.diffusion import Schedule
from mcdi_jax.families import (
  Adapters,
  Documents,
  Features,
  Fields,
  Heads,
  Networks,
  Sentences,
  TaskFamily,
  family_from_json,
  family_to_json,
)
from mcdi_jax.families.heads import spec_with_heads
from mcdi_jax.generator.generator import Generator
from mcdi_jax.generator.specification import GeneratorSpec, init_score
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import load_described, save_described
from mcdi_jax.lib.config import chosen, content_hash, from_mapping
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.tasks import Form
from mcdi_jax.weights import Roots, weight_space

_KNOWN = (Heads, Fields, Networks, Features, Adapters, Documents, Sentences)
FAMILIES: dict[str, type[TaskFamily]] = {family.name: family for family in _KNOWN}
_FORMAT = 4
_READABLE = (2, 3, 4)  # 2 has its weights always in weights/; before 4 all were heads
_KEYS = ("format", "spec", "gauge", "about")
_NO_DEFAULT = dataclasses.MISSING
_SHIPPED = files.as_path(__file__).parents[1] / "trained"


def save_generator(
  directory: PathLike, generator: Generator, about: dict[str, Any] | None = None
) -> None:
  """Writes the generator, replacing what was there: a reader finds the one or the other,
  whenever this is interrupted. `about` is kept beside it."""
  spec, gauge = spec_to_json(generator.spec), generator.space.gauge
  content = {"format": _FORMAT, "spec": spec, "gauge": gauge, "about": about or {}}
  path = files.as_path(directory) / "generator.json"
  save_described(path, content, "weights", _leaves(generator))


@overload
def load_generator(
  name_or_directory: PathLike, family: type[TaskFamily] | None = None
) -> Generator: ...


@overload
def load_generator(name_or_directory: None = None) -> list[str]: ...


def load_generator(
  name_or_directory: PathLike | None = None, family: type[TaskFamily] | None = None
) -> Generator | list[str]:
  """Reads a generator.

  Args:
    name_or_directory: a name that ships with the package, a generator's directory, or
      the workdir of a run with one seed; None returns the list of names.
    family: the class of the tasks, where it is one of a user's own; its numbers are read.

  Raises:
    MissingError: no generator there, or a workdir with several, which are listed.
    DamagedError: a checksum differs.
    InputError: written by another version of this package, weights of another
      specification, or tasks of a user's own whose class is not given.
  """
  if name_or_directory is None:
    return _shipped()
  of_tasks = isinstance(family, type) and issubclass(family, TaskFamily)
  if family is not None and not of_tasks:
    raise InputError(f"family is {family!r}: give the class of its tasks")
  directory = find_generator(name_or_directory)
  path = directory / "generator.json"
  content, leaves = load_described(
    path,
    ("format",),
    "weights",
    lambda content: _leaves(_template(content, path, family), _frozen_name(content)),
  )
  template = _template(content, path, family)
  return dataclasses.replace(
    template,
    score=leaves["score"],
    frozen=leaves[_frozen_name(content)],
    space=dataclasses.replace(
      template.space, scale=leaves["scale"], roots=_roots(leaves.get("roots", {}))
    ),
    schedule=Schedule(leaves["alpha"]),
  )


def _template(
  content: dict[str, Any], path: Path, family: type[TaskFamily] | None
) -> Generator:
  """Of shapes alone."""
  if content["format"] not in _READABLE:
    raise InputError(
      f"{path.parent} has format {content['format']}, this version of mcdi_jax reads "
      f"{_FORMAT}: install the version that wrote it, or train it anew"
    )
  files.check_keys(path, content, *_KEYS)
  described = content["spec"]
  if content["format"] < 4:
    described = spec_with_heads(described)
  needed = [f.name for f in dataclasses.fields(GeneratorSpec) if f.default is _NO_DEFAULT]
  files.check_keys(path, described, *needed)
  files.check_keys(path, described["family"], "name")
  known = FAMILIES if family is None else {**FAMILIES, family.name: family}
  own = described["family"]["name"]
  if own not in known:
    raise InputError(
      f"{path.parent} makes weights for the family {own!r}, which is not of this package: "
      "give its class, as load_generator(…, family=…)"
    )
  spec = spec_from_json(described, known)
  key = jax.random.key(0)
  return jax.eval_shape(lambda: blank(spec, key, gauge=content["gauge"]))


def _frozen_name(content: dict[str, Any]) -> str:
  return "frozen" if content["format"] >= 4 else "backbone"


def spec_to_json(spec: GeneratorSpec) -> dict[str, Any]:
  return {**dataclasses.asdict(spec), "family": family_to_json(spec.family)}


def spec_from_json(
  content: dict[str, Any], known: Mapping[str, type[TaskFamily]] = FAMILIES
) -> GeneratorSpec:
  family = family_from_json(known, content["family"], "spec.family")
  return from_mapping(GeneratorSpec, {**content, "family": family}, "spec")


def about_generator(name_or_directory: PathLike) -> dict[str, Any]:
  """What was kept beside a generator when it was saved."""
  path = find_generator(name_or_directory) / "generator.json"
  return files.check_keys(path, files.read_json(path, *_KEYS)["about"])


def fingerprint(generator: Generator) -> str:
  """sha256 of its specification and arrays, wherever it lies; a setting that a later
  version of this package adds, at its default, is no part of it."""
  spec, gauge = generator.spec, generator.space.gauge
  content = {**chosen(spec), "family": {"name": spec.family.name, **chosen(spec.family)}}
  digest = hashlib.sha256(content_hash({**content, "gauge": gauge}).encode())
  for leaf in jax.tree.leaves(_leaves(generator)):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()


@jax.jit(static_argnames=("spec", "gauge"))
def blank(spec: GeneratorSpec, key: Key[Array, ""], *, gauge: bool = True) -> Generator:
  """A generator of this specification with fresh leaves; its schedule is not set."""
  family = spec.family
  frozen = family.init_frozen(key)
  ways = 2 if family.classifies else 1
  support = family.example(Form(ways, 1))
  support = support._replace(x=family.embed(frozen, support.x))
  params = family.init(frozen, key, support.x, ways)
  layers = family.layers if spec.precondition else ()
  space = weight_space(params, family.cuts, gauge=gauge, layers=layers)
  return Generator(
    score=init_score(spec, frozen, space, support, key),
    frozen=frozen,
    space=space,
    schedule=Schedule(jnp.zeros(spec.diffusion.steps)),
    spec=spec,
  )


def _leaves(generator: Generator, frozen_name: str = "frozen") -> dict[str, Any]:
  space = generator.space
  roots = {str(n): own._asdict() for n, own in enumerate(space.roots)}
  return {
    "score": generator.score,
    frozen_name: generator.frozen,
    "scale": space.scale,
    "alpha": generator.schedule.alpha,
    **({"roots": roots} if roots else {}),
  }


def _roots(by_number: dict[str, Any]) -> tuple[Roots, ...]:
  return tuple(Roots(**by_number[str(n)]) for n in range(len(by_number)))


def _shipped() -> list[str]:
  return sorted(f.parent.name for f in _SHIPPED.glob("*/generator.json"))


def find_generator(name_or_directory: PathLike) -> Path:
  """The directory of a shipped generator, of a workdir's, or the one given."""
  if str(name_or_directory) in _shipped():
    return _SHIPPED / str(name_or_directory)
  directory = files.as_path(name_or_directory)
  if (directory / "generator.json").exists():
    return directory
  found = sorted(directory.glob("seed_*/generator/generator.json"))
  if len(found) == 1:
    return found[0].parent
  if found:
    names = ", ".join(str(f.parent) for f in found)
    raise MissingError(f"{directory} holds several generators: name one of {names}")
  raise MissingError(
    f"there is no generator in {directory}: give a directory that launch.run wrote, or a "
    f"name that ships with the package, of {_shipped()}"
  )
