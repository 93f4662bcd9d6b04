"""From a folder to weights, and from weights to labels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data.image_files import unreadable
from mcdi_jax.data.names import printable
from mcdi_jax.data.texts import are_texts
from mcdi_jax.families import Features
from mcdi_jax.generator import Generator, generate
from mcdi_jax.generator.storage import fingerprint, load_generator
from mcdi_jax.lib import files, outputs, provenance
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.pipeline.own_features import (
  NO_ENCODER,
  EncoderFlags,
  read_feature_items,
)
from mcdi_jax.pipeline.own_images import (
  image_files,
  read_files,
  say_blank_files,
)
from mcdi_jax.pipeline.own_support import image_form, read_own_support, say_if_untrained
from mcdi_jax.pipeline.predictions import Predictions
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
  asked = {"shots": shots, "encoder": encoder, "unlabelled": unlabelled}
  given = read_own_support(name, generator, support, **asked)
  classes, origin = given.classes, given.origin
  count = np.bincount(given.support.y).tolist()
  say_if_untrained(generator, count)
  temperature = float(bool(samples)) if temperature is None else temperature

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
  _write(out, manifest, sample, key)
  return manifest


def _write(
  out: Path, manifest: dict[str, Any], sample: Callable[[Any], Any], key: Key[Array, ""]
) -> None:
  """One set of weights or samples, and the manifest; what was there before goes."""
  if samples := manifest["samples"]:
    save_distribution(out, jax.vmap(sample)(jax.random.split(key, samples)), manifest)
    _remove(out, _MANIFEST, (_WEIGHTS,))
    return
  save_weights(out / _WEIGHTS, sample(key))
  manifest["sha256"] = files.sha256(out / _WEIGHTS)
  files.write_json(out / _MANIFEST, manifest)
  _remove(out, _DISTRIBUTION, _SAMPLES)


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
  files.given(images, "--texts" if are_texts(images) else "--images")
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
  read = read_files(image_files(images), image_form(name, generator))
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
  setting = "--texts" if are_texts(images) else "--images"
  encoder.check_unused(images)
  encoder = known if encoder == NO_ENCODER else encoder
  found = read_feature_items(images, encoder, setting=setting)
  made_by = manifest["embedded_by"]
  if found.encoder != made_by:
    raise InputError(
      f"{images} was embedded by {found.encoder!r}, the support of these weights by "
      f"{made_by!r}: embed both by one"
    )
  return found.x, found.names, found.unreadable


def _identity(name: str) -> str:
  """A shipped name as it is; a directory in full, so that it is found from elsewhere."""
  return name if name in load_generator() else str(files.as_path(name))


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
