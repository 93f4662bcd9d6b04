"""The statistics of the weight space, from the training tasks."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskSource, draw_tasks


def fit_space(
  generator: Generator,
  sources: dict[tuple[int, int], TaskSource],
  key: Key[Array, ""],
  *,
  tasks: int = 1024,
) -> Generator:
  """Sets the scale of each leaf: rms over tasks, coordinates and all k targets together;
  `sources` maps (ways, shots) to tasks of that form."""
  unit = dataclasses.replace(
    generator,
    space=dataclasses.replace(generator.space, scale=jnp.ones_like(generator.space.scale)),
  )

  @jax.jit(static_argnames="shots")
  def rms(source: TaskSource, key: Key[Array, ""], shots: int) -> Array:
    batch = draw_tasks(key, source, unit, tasks=tasks, shots=shots)
    return unit.space.leaf_rms(batch.targets)

  keys = jax.random.split(key, len(sources))
  found = [
    rms(source, k, shots)
    for k, ((_, shots), source) in zip(keys, sources.items(), strict=True)
  ]
  scale = jnp.sqrt(jnp.mean(jnp.stack(found) ** 2, axis=0))
  space = dataclasses.replace(generator.space, scale=jnp.maximum(scale, 1e-8))
  return dataclasses.replace(generator, space=space)
