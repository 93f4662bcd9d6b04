"""The statistics of the weight space, from the training tasks."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.generator import Generator
from mcdi_jax.meta.batch import TaskSource, draw_tasks
from mcdi_jax.networks import Params
from mcdi_jax.weights import damped_roots, second_moment

_BYTES = 2**28
_ROOTS = 2**31  # folded into the key for roots; forms are folded in for scales
_SUPPORTS = 64  # of each form, that layers are preconditioned by


def fit_space(
  generator: Generator,
  source: TaskSource,
  key: Key[Array, ""],
  *,
  tasks: int = 1024,
  keep_support: bool = False,
) -> Generator:
  """Sets the roots of the layers, where there are any, from supports of the bank's tasks;
  then the scale of each leaf: rms over the tasks of all forms, coordinates and all k
  targets together; `keep_support` as in training, as a base depends on the support. Of
  large networks fewer tasks are taken, as many as fit 256 MiB, and at least 8."""
  generator = _preconditioned(generator, source, jax.random.fold_in(key, _ROOTS))
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


def _preconditioned(
  generator: Generator, source: TaskSource, key: Key[Array, ""]
) -> Generator:
  """With the damped roots of what θ_0's layers are given, over items of all forms."""
  family, layers = generator.spec.family, generator.space.layers
  if not layers:
    return generator

  @jax.jit
  def mean(
    source: TaskSource, frozen: Params, key: Key[Array, ""], form: Any
  ) -> tuple[Array, ...]:
    counted, k_rows, k_supports = source.form(form), *jax.random.split(key)
    rows = jax.random.randint(k_rows, (_SUPPORTS,), 0, source.count[form])

    def one(row_and_key: tuple[Any, Key[Array, ""]]) -> tuple[Array, ...]:
      row, key = row_and_key
      task = jax.tree.map(lambda leaf: leaf[row], source.bank.tasks)
      support = family.support(key, source.items, task, family.largest.shots, form=counted)
      inputs = zip(family.layer_inputs(frozen, support), layers, strict=True)
      return tuple(second_moment(x, bool(layer.bias), support.mask) for x, layer in inputs)

    keys = jax.random.split(k_supports, _SUPPORTS)
    moments = jax.lax.map(one, (rows + source.first[form], keys))
    return jax.tree.map(lambda moment: moment.mean(0), moments)

  forms = range(len(source.first))
  given = (source, generator.frozen)
  found = [mean(*given, jax.random.fold_in(key, f), f) for f in forms]
  moments = [np.mean(of_layer, axis=0) for of_layer in zip(*found, strict=True)]
  roots = tuple(damped_roots(m, generator.spec.precondition) for m in moments)
  space = dataclasses.replace(generator.space, roots=roots)
  return dataclasses.replace(generator, space=space)
