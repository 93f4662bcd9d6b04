"""From a folder to weights, and from weights to labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data.image_files import unreadable
from mcdi_jax.data.names import printable
from mcdi_jax.families import Features, Heads
from mcdi_jax.generator import Generator, generate
from mcdi_jax.generator.storage import about_generator, fingerprint, load_generator
from mcdi_jax.lib import files, outputs, provenance
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.own_features import (
  NO_ENCODER,
  EncoderFlags,
  read_feature_items,
  read_feature_support,
)
from mcdi_jax.pipeline.own_images import (
  Form,
  image_files,
  read_files,
  read_support,
  say_blank_files,
)
from mcdi_jax.pipeline.predictions import Predictions
from mcdi_jax.tasks import Support
from mcdi_jax.weights import (
  load_distribution,
  load_weights,
  save_distribution,
  save_weights,
)

_WEIGHTS, _MANIFEST = "weights.safetensors", "manifest.json"
_SAMPLES, _DISTRIBUTION = ("samples", "samples-2"), "distribution.json"
_BATCH = 256  # images at a time
_OF_HEADS = {"head", "centre", "spread", "origin"}


def generate_from_folder(
  name: str,
  support: PathLike,
  out: PathLike,
  *,
  samples: int = 0,
  temperature: float | None = None,
  shots: int | None = None,
  seed: int = 0,
  encoder: EncoderFlags = NO_ENCODER,
  unlabelled: PathLike = "",
) -> dict[str, Any]:
  """Generates weights for the classes of a folder and writes them to the directory `out`.

  Args:
    name: of a generator, or its directory.
    support: a folder of class folders, or an `.npz` of images or features.
    samples: 0: one set of weights, as safetensors; else a distribution of so many, as an
      Orbax checkpoint.
    temperature: default 0 for one set of weights, 1 for samples.
    shots: images to take of each class, at most; None: all.
    seed: of the noise.
    encoder: what embeds images, for a generator that takes features.
    unlabelled: features, or images, without labels, for such a generator: their mean is
      taken off the support and all that is labelled later.

  Returns:
    The manifest that is kept beside the weights.
  """
  out = outputs.checked(out, "--out", folder=True, outside=support)
  if _foreign(out):
    raise InputError(f"--out {out} holds other files: name a new folder")
  generator = load_generator(name)
  asked = support, shots, encoder, unlabelled
  of_features = isinstance(generator.family, Features)
  given = (_given_features if of_features else _given_images)(name, generator, *asked)
  classes, origin = given.classes, given.origin
  count = np.bincount(given.support.y).tolist()
  _say_if_untrained(generator, count)
  if temperature is None:
    temperature = 1.0 if samples else 0.0

  def sample(key: jax.Array) -> Any:
    settings = {"temperature": temperature, "ways": len(classes)}
    params = generate(generator, given.support, key, **settings)
    return params if origin is None else {**params, "origin": jnp.asarray(origin)}

  key = key_for(seed, "generate")
  manifest = {
    "generator": _identity(name),
    "fingerprint": fingerprint(generator),
    "classes": list(classes),
    "shots": count,
    "temperature": temperature,
    "samples": samples,
    "seed": seed,
    **given.made_by,
    "versions": provenance.versions(),
    "commit": provenance.commit(),
  }
  if samples:
    save_distribution(out, jax.vmap(sample)(jax.random.split(key, samples)), manifest)
    _remove(out, _MANIFEST, (_WEIGHTS,))
  else:
    save_weights(out / _WEIGHTS, sample(key))
    manifest["sha256"] = files.sha256(out / _WEIGHTS)
    files.write_json(out / _MANIFEST, manifest)
    _remove(out, _DISTRIBUTION, _SAMPLES)
  return manifest


class _Given(NamedTuple):
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


def _given_images(
  name: str, generator: Generator, path: PathLike, shots: int | None, *flags: Any
) -> _Given:
  _, unlabelled = flags
  if unlabelled:
    raise InputError(
      f"--unlabelled is for generators that take features, and {name} takes images: leave "
      "it out"
    )
  x, y, classes = read_support(path, _form(name, generator), shots)
  return _Given(Support(jnp.asarray(x), jnp.asarray(y)), classes, {}, None)


def _given_features(
  name: str,
  generator: Generator,
  path: PathLike,
  shots: int | None,
  encoder: EncoderFlags,
  unlabelled: PathLike,
) -> _Given:
  del name, generator
  x, y, classes, embedded_by = read_feature_support(path, encoder, shots)
  weights = str(files.as_path(encoder.weights)) if encoder.weights else ""
  kept = list(encoder._replace(weights=weights))  # found from elsewhere, too
  made_by, origin = {"embedded_by": embedded_by, "encoder": kept}, None
  if unlabelled:
    origin = _origin(unlabelled, encoder, embedded_by, x.shape[1])
    x, made_by["unlabelled"] = x - origin, str(files.as_path(unlabelled))
  return _Given(Support(jnp.asarray(x), jnp.asarray(y)), classes, made_by, origin)


def predict(
  weights: PathLike,
  images: PathLike,
  name: str | None = None,
  encoder: EncoderFlags = NO_ENCODER,
) -> Predictions:
  """Classifies image files, or features, with what `generate_from_folder` wrote.

  Args:
    name: of the generator, if it has moved since.
    encoder: what embeds images; as a rule what the support was embedded with is known.

  Raises:
    MissingError: no weights, no images, no generator.
    InputError: weights of another network, or features of another encoder.
  """
  directory = files.as_path(weights)
  samples, manifest = _read(directory)
  name = name or manifest["generator"]
  try:
    generator = load_generator(name)
  except MissingError as error:
    raise MissingError(f"{error}, with --generator") from None
  if fingerprint(generator) != manifest["fingerprint"]:
    raise InputError(
      f"the weights in {directory} belong to another network than generator {name}: give "
      "the generator that they came from with --generator, or generate them anew"
    )
  read = _items if isinstance(generator.family, Features) else _images
  x, names, bad = read(images, name, generator, manifest, encoder)
  logits = jax.jit(jax.vmap(generator.network.apply, in_axes=(0, None)))
  parts = [
    jax.nn.softmax(logits(samples, jnp.asarray(part))).mean(0)
    for part in np.split(x, range(_BATCH, len(x), _BATCH))
  ]
  classes = tuple(manifest["classes"])
  return Predictions(tuple(names), classes, np.concatenate(parts), bad)


def _images(
  images: PathLike, name: str, generator: Generator, manifest: Any, encoder: Any
) -> tuple[np.ndarray, list[str], str | None]:
  """float32 [n, h, w, c] in [0, 1], names, and a sentence on what cannot be read."""
  del manifest, encoder
  read = read_files(image_files(images), _form(name, generator))
  say_blank_files(read)
  root = files.as_path(images)
  names = [str(p.relative_to(root)) if p != root else p.name for p in read.paths]
  bad = str(unreadable(read.bad)) if read.bad else None
  return read.x.astype(np.float32) / 255, [*map(printable, names)], bad


def _items(
  images: PathLike, name: str, generator: Generator, manifest: Any, encoder: EncoderFlags
) -> tuple[np.ndarray, list[str], str | None]:
  """The same of features [n, D], which the support's encoder must have made."""
  del name, generator
  if not {"encoder", "embedded_by"} <= manifest.keys():
    raise InputError(
      "the weights' manifest does not say what embedded their support: generate them anew"
    )
  known = EncoderFlags(*manifest["encoder"])
  found = read_feature_items(images, known if encoder == NO_ENCODER else encoder)
  made_by = manifest["embedded_by"]
  if found.encoder != made_by:
    raise InputError(
      f"{images} was embedded by {found.encoder!r}, the support of these weights by "
      f"{made_by!r}: embed both by one"
    )
  return found.x, found.names, found.unreadable


def _origin(path: PathLike, encoder: EncoderFlags, made_by: str, width: int) -> np.ndarray:
  """[D]; the mean of what is there, which the support's encoder must have made."""
  found = read_feature_items(path, encoder)
  if found.unreadable:
    CONSOLE.print(f"note: {found.unreadable}")
  if found.encoder != made_by or found.x.shape[1] != width:
    raise InputError(
      f"--unlabelled {path} has {found.x.shape[1]} features of {found.encoder!r}, the "
      f"support {width} of {made_by!r}: embed both by one"
    )
  return found.x.mean(0)


def _identity(name: str) -> str:
  """A shipped name as it is; a directory in full, so that it is found from elsewhere."""
  return name if name in load_generator() else str(files.as_path(name))


def _form(name: str, generator: Generator) -> Form:
  if not isinstance(generator.family, Heads):
    raise InputError(
      f"generator {name} makes weights of {generator.family.name}, not of classifiers of "
      "images: call mcdi_jax.generate in code, with what its family takes"
    )
  return Form(generator.family.image_shape, about_generator(name).get("border_brightness"))


def _foreign(out: Path) -> bool:
  """Whether a folder holds something, and it is not what is written here."""
  if not out.exists() or not any(out.iterdir()):
    return False
  return not any(_ours(out / n) for n in (_MANIFEST, _DISTRIBUTION))


def _ours(manifest: Path) -> bool:
  return manifest.exists() and b'"fingerprint"' in manifest.read_bytes()


def _remove(out: Path, manifest: str, weights: tuple[str, ...]) -> None:
  """Weights of the other kind that were written before: `predict` must not read them."""
  if not _ours(out / manifest):
    return
  files.remove(out / manifest)
  for old in (out / name for name in weights):
    remove = old.rmtree if old.is_dir() else old.unlink
    remove(missing_ok=True)


def _say_if_untrained(generator: Generator, count: list[int]) -> None:
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


def _read(directory: Path) -> tuple[Any, dict[str, Any]]:
  """Samples of weights (one, or those of a distribution) and their manifest."""
  if (directory / _DISTRIBUTION).exists():
    samples, manifest = load_distribution(directory)
  elif (directory / _MANIFEST).exists():
    manifest = files.read_json(directory / _MANIFEST)
    if manifest.get("sha256") not in (None, files.sha256(directory / _WEIGHTS)):
      raise DamagedError(
        f"{directory / _WEIGHTS} is not the file that {_MANIFEST} describes: generate the "
        "weights anew"
      )
    params = load_weights(directory / _WEIGHTS)
    samples = jax.tree.map(lambda p: p[None], params)
  else:
    raise MissingError(
      f"there are no generated weights in {directory}: give a folder that launch.generate "
      "wrote"
    )
  if not _is_manifest(manifest) or not _is_head(samples, len(manifest["classes"])):
    raise InputError(
      f"the weights in {directory} are not those of an image classifier with its classes: "
      "give a folder that launch.generate wrote"
    )
  return samples, manifest


def _is_manifest(content: Any) -> bool:
  if not isinstance(content, dict):
    return False
  texts = (content.get("generator"), content.get("fingerprint"))
  classes = content.get("classes")
  listed = classes if isinstance(classes, list) else [None]
  return all(isinstance(value, str) for value in (*texts, *listed))


def _is_head(samples: Any, ways: int) -> bool:
  head = samples.get("head") if isinstance(samples, dict) else None
  if not isinstance(head, dict) or set(samples) - _OF_HEADS or "bias" not in head:
    return False
  return head["bias"].shape[-1:] == (ways,)
