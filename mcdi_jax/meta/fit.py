"""The statistics of the weight space, from the training tasks."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskSource, draw_tasks

_BYTES = 2**28


def fit_space(
  generator: Generator,
  source: TaskSource,
  key: Key[Array, ""],
  *,
  tasks: int = 1024,
  keep_support: bool = False,
) -> Generator:
  """Sets the scale of each leaf: rms over the tasks of all forms, coordinates and all k
  targets together; `keep_support` as in training, as a base depends on the support. Of
  large networks fewer tasks are taken, as many as fit 256 MiB, and at least 8."""
  family = generator.spec.family
  shape = (generator.space.rows(family.largest.ways), generator.space.width)
  targets = jax.tree.leaves(source.bank.weights)[0].shape[1]
  tasks = min(tasks, max(8, _BYTES // (4 * targets * math.prod(shape))))
  unit = dataclasses.replace(
    generator,
    space=dataclasses.replace(generator.space, scale=jnp.ones_like(generator.space.scale)),
  )

  @jax.jit
  def mean_square(source: TaskSource, key: Key[Array, ""], form: Any) -> Array:
    batch = draw_tasks(key, source, unit, form=form, tasks=tasks, keep_support=keep_support)
    present = jnp.arange(unit.spec.family.largest.ways) < source.form(form).ways
    present = jnp.broadcast_to(present, (*batch.targets.shape[:2], *present.shape))
    return unit.space.leaf_rms(batch.targets, present) ** 2

  forms = range(len(source.first))
  found = [mean_square(source, jax.random.fold_in(key, f), f) for f in forms]
  scale = jnp.sqrt(jnp.mean(jnp.stack(found), axis=0))
  space = dataclasses.replace(generator.space, scale=jnp.maximum(scale, 1e-8))
  return dataclasses.replace(generator, space=space)
