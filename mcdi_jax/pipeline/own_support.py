"""What a user's files say of a task: the support, its classes and what embedded it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mcdi_jax.families import Documents, Features, Heads
from mcdi_jax.generator import Generator
from mcdi_jax.generator.storage import about_generator
from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.own_features import (
  EncoderFlags,
  read_feature_items,
  read_feature_support,
)
from mcdi_jax.pipeline.own_images import Form, read_support
from mcdi_jax.tasks import Support


class OwnSupport(NamedTuple):
  """A user's support, from files.

  Attributes:
    classes: their names.
    made_by: what the manifest says of the encoder.
    origin: [D]; what has been taken off the support's features. None: nothing.
  """

  support: Support
  classes: tuple[str, ...]
  made_by: dict[str, Any]
  origin: np.ndarray | None


def read_own_support(
  name: str,
  generator: Generator,
  path: PathLike,
  *,
  shots: int | None,
  encoder: EncoderFlags,
  unlabelled: PathLike,
) -> OwnSupport:
  """Of a generator of this name; the rest is as `generate_from_folder` takes it."""
  files.given(path, "--support")
  if isinstance(generator.family, Features):
    return _of_features(path, shots, encoder, unlabelled)
  if unlabelled:
    raise InputError(
      f"--unlabelled is for generators that take features, and {name} takes images: leave "
      "it out"
    )
  x, y, classes = read_support(path, image_form(name, generator), shots)
  return OwnSupport(Support(jnp.asarray(x), jnp.asarray(y)), classes, {}, None)


def _of_features(
  path: PathLike, shots: int | None, encoder: EncoderFlags, unlabelled: PathLike
) -> OwnSupport:
  x, y, classes, embedded_by = read_feature_support(path, encoder, shots)
  weights = str(files.as_path(encoder.weights)) if encoder.weights else ""
  kept = list(encoder._replace(weights=weights))  # found from elsewhere, too
  made_by, origin = {"embedded_by": embedded_by, "encoder": kept}, None
  if unlabelled:
    origin = _origin(unlabelled, encoder, embedded_by, x.shape[1])
    x, made_by["unlabelled"] = x - origin, str(files.as_path(unlabelled))
  return OwnSupport(Support(jnp.asarray(x), jnp.asarray(y)), classes, made_by, origin)


def _origin(path: PathLike, encoder: EncoderFlags, made_by: str, width: int) -> np.ndarray:
  """[D]; the mean of what is there, which the support's encoder must have made."""
  found = read_feature_items(path, encoder, setting="--unlabelled")
  if found.unreadable:
    CONSOLE.print(f"note: {found.unreadable}")
  if found.encoder != made_by or found.x.shape[1] != width:
    raise InputError(
      f"--unlabelled {path} has {found.x.shape[1]} features of {found.encoder!r}, the "
      f"support {width} of {made_by!r}: embed both by one"
    )
  return found.x.mean(0)


def image_form(name: str, generator: Generator) -> Form:
  if isinstance(generator.family, Documents):
    raise InputError(f"generator {name} makes adapters for a text: call launch.adapt")
  if not isinstance(generator.family, Heads):
    raise InputError(
      f"generator {name} makes weights of {generator.family.name}, not of classifiers of "
      "images: call mcdi_jax.generate in code, with what its family takes"
    )
  return Form(generator.family.image_shape, about_generator(name).get("border_brightness"))


def say_if_untrained(generator: Generator, count: list[int]) -> None:
  for what, numbers, trained in (
    ("classes", (len(count),), generator.spec.family.ways),
    ("images a class", count, generator.spec.family.shots),
  ):
    least, most = min(numbers), max(numbers)
    if least < min(trained) or most > max(trained):
      shown = str(least) if least == most else f"{least} to {most}"
      CONSOLE.print(
        f"note: {shown} {what}; this generator was trained for {min(trained)} to "
        f"{max(trained)}",
      )
