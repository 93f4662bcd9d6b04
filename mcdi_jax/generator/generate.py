"""`generate`: a support in, the weights of its classifier out; no gradient is taken."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.generator.condition import by_class
from mcdi_jax.generator.generator import Generator, Params
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Support


def generate(
  generator: Generator,
  support: Support,
  key: Key[Array, ""],
  *,
  temperature: Any = 0.0,
  ways: int | None = None,
) -> Params:
  """Generates the weights of a classifier for the support's classes.

  Pure: it goes under `jit` (with `static_argnames="ways"`), `vmap` over supports and
  keys, and `grad` with respect to `support.x` and the generator.

  Args:
    support: images [N·K, h, w, c] in [0, 1] of the trained shape; labels int [N·K] in
      0..N−1, each K times, in any order.
    key: of the noise; several samples are a `vmap` over keys.
    temperature: τ in [0, 1] scales all noise. At 0 the result does not depend on `key`
      and is close to the mean of many samples; at 1 it is a sample.
    ways: N, static; may be left out if the generator was trained for one number.

  Returns:
    The generated leaves alone, `{"head": {"kernel": [D, N], "bias": [N]}}`;
    `generator.network.apply(params, x)` classifies with them.

  Raises:
    InputError: shapes that do not fit; on concrete arrays also labels or pixels out of
      range, classes of unequal number, or a temperature outside [0, 1].
  """
  ways = _ways(generator, ways)
  _check(generator, support, temperature, ways)
  return _generate(generator, support, key, temperature, ways)


def generate_from_features(
  generator: Generator,
  support: Support,
  key: Key[Array, ""],
  *,
  temperature: Any = 0.0,
  ways: int | None = None,
) -> Params:
  """The same from the backbone's features, support.x [N·K, D], for those that have
  computed them already; nothing is checked but the shape."""
  shots = by_class(support, _ways(generator, ways))
  tokens, _ = generator.sample(shots, key, temperature=temperature)
  return generator.space.decode(tokens, generator.base(shots))


@jax.jit(static_argnames="ways")
def _generate(
  generator: Generator, support: Support, key: Array, temperature: Any, ways: int
) -> Params:
  features = generator.spec.backbone.apply(generator.backbone, support.x)
  return generate_from_features(
    generator, Support(features, support.y), key, temperature=temperature, ways=ways
  )


def _ways(generator: Generator, ways: int | None) -> int:
  trained = generator.spec.ways
  if ways is None and len(trained) > 1:
    raise InputError(f"ways is not given: this generator was trained for {trained}")
  ways = trained[0] if ways is None else ways
  if ways < 2:
    raise InputError(f"ways is {ways}: a classifier needs at least 2 classes")
  return ways


def _check(generator: Generator, support: Support, temperature: Any, ways: int) -> None:
  """Shapes always; values where they are known, which is not so under `jit`."""
  x, y = support.x, support.y
  trained = tuple(generator.spec.image_shape)
  if jnp.ndim(x) != 4 or jnp.shape(x)[1:] != trained:
    raise InputError(
      f"support.x has shape {jnp.shape(x)}: this generator was trained for images "
      f"[N·K, {', '.join(map(str, trained))}], so resize them or train one for yours"
    )
  if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
    raise InputError(
      f"support.x is {jnp.result_type(x)}: give floats in [0, 1], such as x / 255"
    )
  label = jnp.result_type(y)
  if jnp.shape(y) != jnp.shape(x)[:1] or not jnp.issubdtype(label, jnp.integer):
    raise InputError(
      f"support.y is {label} {jnp.shape(y)}: give one integer label an image"
    )
  if _concrete(y):
    values = np.asarray(y)
    if values.min(initial=0) < 0 or values.max(initial=0) >= ways:
      raise InputError(
        f"support.y runs from {values.min()} to {values.max()}: labels must lie in "
        f"0..{ways - 1} for {ways} ways"
      )
    count = np.bincount(values, minlength=ways)
    if len(set(count)) > 1 or not count[0]:
      raise InputError(
        f"support.y has {count.tolist()} items a class: give every class the same number"
      )
  if _concrete(x) and not (np.min(x) >= 0 and np.max(x) <= 1):  # also if not finite
    raise InputError("support.x has values outside [0, 1]: scale the images, as x / 255")
  if _concrete(temperature) and not 0 <= float(temperature) <= 1:
    raise InputError(f"temperature is {temperature}: give a number from 0 to 1")


def _concrete(x: Any) -> bool:
  return not isinstance(x, jax.core.Tracer)
