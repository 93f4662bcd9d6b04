"""`generate`: a support in, the weights of its classifier out; no gradient is taken."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.generator.model import Model, as_array
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support


def generate(
  generator: Model,
  support: Support,
  key: Key[Array, ""],
  *,
  temperature: Any = 0.0,
  ways: Any = None,
) -> Params:
  """Generates the weights of a classifier for the support's classes.

  Pure: it goes under `jit` (with `static_argnames="ways"`), `vmap` over supports and
  keys, and `grad` with respect to `support.x` and the generator.

  Args:
    support: images [n, h, w, c] in [0, 1] of the trained shape; labels int [n] in 0..N−1,
      in any order and any number a class; optionally a mask bool [n], False for what only
      fills up the arrays (masked or left out, the weights are the same).
    key: of the noise; several samples are a `vmap` over keys.
    temperature: τ in [0, 1] scales all noise. At 0 the result does not depend on `key`
      and is close to the mean of many samples; at 1 it is a sample.
    ways: N, static; may be left out if the generator was trained for one number.

  Returns:
    The generated leaves alone, `{"head": {"kernel": [D, N], "bias": [N]}}`;
    `generator.network.apply(params, x)` classifies with them. A class without an item,
    which only a mask can make, has logits −∞.

  Raises:
    InputError: shapes and types that do not fit; on concrete arrays also labels or pixels
      out of range, a class without an item, or a temperature outside [0, 1].
  """
  _check_kinds(generator, support, key)
  ways = _ways(generator, ways)
  support = _checked(generator, support, temperature, ways)
  # At τ = 0 there is less to compute, which must be known where it is compiled.
  still = _concrete(temperature) and not temperature
  return _generate(generator, support, key, None if still else temperature, ways)


def generate_from_features(
  generator: Model,
  support: Support,
  key: Key[Array, ""],
  *,
  temperature: Any = 0.0,
  ways: Any = None,
) -> Params:
  """The same from features, support.x [n, D]: items as the family embeds them, for those
  that have done that already. Nothing is checked."""
  settings = {"temperature": temperature, "ways": _ways(generator, ways)}
  with jax.default_matmul_precision(generator.matmul_precision):
    return generator.from_features(support, key, **settings)


@jax.jit(static_argnames="ways")
def _generate(
  generator: Model, support: Support, key: Array, temperature: Any, ways: int
) -> Params:
  """temperature: None is 0."""
  temperature = 0.0 if temperature is None else temperature
  x = support.x
  if support.mask is not None:  # what does not count may hold anything, gradients included
    x = jnp.where(support.mask.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)
  with jax.default_matmul_precision(generator.matmul_precision):
    features = generator.embed(x)
  support = support._replace(x=features)
  return generate_from_features(generator, support, key, temperature=temperature, ways=ways)


def _check_kinds(generator: Any, support: Any, key: Any) -> None:
  for name, value, kind, remedy in (
    ("generator", generator, Model, "give what load_generator returns"),
    ("support", support, Support, "give a mcdi_jax.Support(x, y)"),
  ):
    if not isinstance(value, kind):
      raise InputError(f"{name} is a {type(value).__name__}: {remedy}")
  dtype = getattr(key, "dtype", np.dtype(object))
  typed = jnp.issubdtype(dtype, jax.dtypes.prng_key)
  if not (typed or dtype == np.uint32) or key.ndim != (0 if typed else 1):
    shape = f" of shape {key.shape}" if typed else ""
    raise InputError(
      f"key is a {type(key).__name__}{shape}: give one jax.random.key, several by vmap"
    )


def _ways(generator: Model, ways: Any) -> int:
  trained = generator.family.ways
  if ways is None and len(trained) > 1:
    raise InputError(f"ways is not given: this generator was trained for {trained}")
  if ways is not None and not _concrete(ways):
    raise InputError(
      "ways is traced: make it static, as static_argnames='ways' of jit does"
    )
  try:
    ways = trained[0] if ways is None else operator.index(ways)
  except TypeError:
    raise InputError(f"ways is {ways!r}: give a whole number") from None
  if ways < 2 and generator.family.classifies:
    raise InputError(f"ways is {ways}: a classifier needs at least 2 classes")
  most = generator.family.most_ways
  if most and ways > most:
    raise InputError(
      f"ways is {ways}: {generator.family.name} are generated for up to {most} classes, so "
      "give fewer at a time"
    )
  return ways


def _checked(generator: Model, support: Support, temperature: Any, ways: int) -> Support:
  """The support as arrays. Shapes are checked always, values where they are known, which
  is not so under `jit`."""
  parts = (as_array(f"support.{n}", part) for n, part in support._asdict().items())
  support = Support(*parts)
  generator.family.check_items("support.x", support.x)
  generator.family.check_support(support, ways)
  if _concrete(temperature) and not _is_share(temperature):
    raise InputError(f"temperature is {temperature!r}: give a number from 0 to 1")
  return support


def _is_share(x: Any) -> bool:
  try:
    return not isinstance(x, str) and 0 <= float(x) <= 1
  except (TypeError, ValueError):
    return False


def _concrete(x: Any) -> bool:
  return not isinstance(x, jax.core.Tracer)
