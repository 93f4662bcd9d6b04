"""Some answers of a generator, to be looked at."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation.scores import draw_task
from mcdi_jax.families import Fields
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.methods import Method
from mcdi_jax.tasks import Protocol

_TASKS, _SHOWN_QUERIES = 3, 5
_IMAGES = 8


@functools.partial(jax.jit, static_argnames="form")
def classified(
  generator: Generator,
  form: Protocol,
  features: ClassSet,
  images: ClassSet,
  key: Key[Array, ""],
) -> dict[str, Array]:
  """Some test tasks of images with their answers.

  Args:
    images: uint8, that `features` are of.

  Returns:
    `example_support` uint8 [E, N, K, h, w, c]; `example_query` uint8 [E, N, Q, h, w, c],
    row n holding images of class n; `example_predicted` int [E, N, Q].
  """
  shown = form._replace(queries=min(form.queries, _SHOWN_QUERIES))
  family, image_shape = generator.family, images.x.shape[1:]

  def one(key: Key[Array, ""]) -> tuple[Array, Array, Array]:
    k_task, k_generate = jax.random.split(key)
    pixels = family.sample(k_task, images, shown)
    task = family.sample(k_task, features, shown)
    params = generate_from_features(generator, task.support, k_generate, ways=form.ways)
    predicted = family.apply(generator.frozen, params, task.query.x).argmax(-1)
    rows = lambda x, n: x.reshape(form.ways, n, *image_shape)  # noqa: E731
    as_bytes = lambda x: jnp.round(255 * x).astype(jnp.uint8)  # noqa: E731
    return (
      rows(as_bytes(pixels.support.x), form.shots),
      rows(as_bytes(pixels.query.x), shown.queries),
      predicted.reshape(form.ways, shown.queries),
    )

  support, query, predicted = jax.vmap(one)(jax.random.split(key, _TASKS))
  return {
    "example_support": support,
    "example_query": query,
    "example_predicted": predicted,
  }


def reconstructed(
  methods: Sequence[Method], family: Fields, items: Any, key: Key[Array, ""]
) -> dict[str, np.ndarray]:
  """Some test images, and what the fields of each method hold of them.

  Returns:
    `field_image`, and `field_NAME` of each method, uint8 [E, h, w, c].
  """
  draw = lambda k: draw_task(k, family, items, Protocol(1, 1, 1))  # noqa: E731
  tasks, _, keys = jax.vmap(draw)(jax.random.split(key, _IMAGES))
  found = {"field_image": tasks.query.y}
  for method in methods:

    @jax.jit
    def one(task: Any, key: Any, method: Method = method) -> Array:
      adapted = method.adapt(method.variables, task.support, key, 1)
      return method.predict(method.variables, adapted, task.query.x)

    found[f"field_{method.name}"] = jax.vmap(one)(tasks, keys)
  as_bytes = lambda x: np.uint8(np.round(255 * jnp.clip(x, 0, 1)))  # noqa: E731
  shape = (_IMAGES, *family.image_shape)
  return {name: as_bytes(x).reshape(shape) for name, x in found.items()}
