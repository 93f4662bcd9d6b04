"""From a user's text to its adapter in the layout of `peft`."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mcdi_jax.data.documents import read_document
from mcdi_jax.data.tokenizer import check_tokens, open_tokenizer
from mcdi_jax.families import Documents
from mcdi_jax.generator import Generator, generate, iterate, load_generator
from mcdi_jax.generator.storage import about_generator, find_generator
from mcdi_jax.lib import files, outputs
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.networks import Params
from mcdi_jax.networks.llama_checkpoint import read_llama
from mcdi_jax.weights.peft import is_made_here, write_peft


class Adapted(NamedTuple):
  """What an adapter does for the rest of its text.

  Attributes:
    support, rest: tokens that it was generated from, and that were scored: whole windows.
    before, after: nats a token of the rest, without the adapter and with it; NaN where
      there is no whole window.
  """

  support: int
  rest: int
  before: float
  after: float


def adapt_to_text(
  generator: PathLike,
  base: PathLike,
  text: PathLike,
  out: PathLike,
  *,
  passes: int = 0,
  seed: int = 0,
) -> Adapted:
  """Writes the adapter that is generated for a text from how it begins.

  Args:
    generator: a name that ships with the package, or a directory.
    base: folder of the model that the generator is for, with its `tokenizer.json`; empty:
      `base/` in the generator's own, where those that ship have it.
    text: a file in UTF-8.
    out: the adapter's folder: a new one, or one that this wrote before.
    passes: of `compose.iterate`; 0: as many as the generator was trained with.

  Raises:
    InputError: a generator of something else, another base than the generator's, or a text
      that is shorter than a support.
  """
  place = outputs.checked(out, "--out", folder=True)
  if place.exists() and any(place.iterdir()) and not is_made_here(place):
    raise InputError(f"--out {place} holds other files: name a new folder")
  model = load_generator(generator)
  family = model.family
  if not isinstance(family, Documents):
    raise InputError(
      f"{generator} generates {family.name}: --generator needs one of configs/documents.py"
    )
  base = base or find_generator(generator) / "base"
  _check_base(model, base, generator)
  ids, given = _tokens(family, base, text), family.shots[0] * family.window
  support = family.as_support(ids[:given])
  passes = passes or about_generator(generator).get("passes", 1)
  source = iterate(model, passes) if passes > 1 else model
  params = generate(source, support, jax.random.key(seed))
  own = family.adapters(model.frozen, params)
  write_peft(place, own["a"], own["b"], base=str(files.as_path(base)))
  number = len(ids) // family.window
  windows = family.windows(jnp.asarray(ids), number)
  x, y = (part[family.shots[0] :] for part in windows)
  if not len(x):
    return Adapted(given, 0, math.nan, math.nan)
  both = (model.frozen["init"], params)
  scored = (float(_loss(model, each, x, y)) for each in both)
  return Adapted(given, y.size, *scored)


def _tokens(family: Documents, base: PathLike, text: PathLike) -> np.ndarray:
  """Of a text, enough for a support, without the one that begins it."""
  (found,) = tokens = open_tokenizer(base)([read_document(text)])
  check_tokens(tokens, family.model.vocabulary, base)
  if found[0] != family.first:
    raise InputError(
      f"the tokenizer.json of --base {base} does not put token {family.first} before a "
      "text: bring the one that the generator was trained with"
    )
  ids, given = found[1:], family.shots[0] * family.window
  if len(ids) < given:
    raise InputError(
      f"{text} has {len(ids)} tokens: this generator needs {given} for a support, so give "
      "a longer text"
    )
  return ids


@jax.jit
def _loss(model: Generator, params: Params, x: Array, y: Array) -> Array:
  """The mean over windows, one after the other."""
  family = model.family

  def one(window: tuple[Array, Array]) -> Array:
    x, y = window
    return family.loss(family.apply(model.frozen, params, x[None]), y[None])[0]

  return jax.lax.map(one, (x, y)).mean()


def _check_base(model: Generator, base: PathLike, generator: PathLike) -> None:
  config, params = read_llama(base)
  own, found = (jax.tree.flatten(tree) for tree in (model.frozen["base"], params))
  same = config == model.family.model and own[1] == found[1]
  if not (same and all(map(np.array_equal, own[0], found[0]))):
    raise InputError(
      f"--base {base} is not the model that {generator} was trained for: its adapters fit "
      "no other, so give the folder base/ of the run that made it"
    )
