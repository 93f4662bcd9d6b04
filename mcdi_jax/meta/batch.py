"""A batch of training tasks: supports from the features, targets from the bank."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Generator, by_class
from mcdi_jax.lib.spacing import evenly_spaced
from mcdi_jax.preparation import Bank, kept_support
from mcdi_jax.preparation.bank import task_key
from mcdi_jax.tasks import sample_support


class TaskSource(NamedTuple):
  """What tasks are drawn from.

  Attributes:
    bank: prepared tasks of N ways.
    features: of the training classes, x float [n, D].
    key: of the bank, which says each task's kept support.
  """

  bank: Bank
  features: ClassSet
  key: Any


class TaskBatch(NamedTuple):
  """B tasks, or one without the leading axis.

  Attributes:
    shots: [B, N, K, D] features of the support, by class.
    targets: [B, k, N, W] tokens of the local targets.
  """

  shots: Any
  targets: Any


def draw_tasks(
  key: Key[Array, ""],
  source: TaskSource,
  generator: Generator,
  *,
  tasks: int,
  shots: int,
  keep_support: bool = False,
) -> TaskBatch:
  """Draws tasks of the bank with a support of K shots each, and encodes their targets."""
  k_tasks, k_supports = jax.random.split(key)
  numbers = jax.random.randint(k_tasks, (tasks,), 0, source.bank.tasks)

  def one(number: Any, key: Key[Array, ""]) -> TaskBatch:
    classes = source.bank.classes[number]
    if keep_support:
      of_task = task_key(source.key, number)
      support = kept_support(of_task, source.features, classes, shots)
    else:
      support = sample_support(key, source.features, classes, shots)
    weights = jax.tree.map(lambda leaf: leaf[number], source.bank.weights)
    weights = chain_targets(generator, weights)
    ordered = by_class(support, len(classes))
    return TaskBatch(ordered, encode_targets(generator, weights, ordered))

  return jax.vmap(one)(numbers, jax.random.split(k_supports, tasks))


def chain_targets(generator: Generator, weights: Any) -> Any:
  """The chain's k targets among those of the bank (params with a leading axis): evenly
  spaced, so that of one segment is the last. The naive objective takes them all."""
  diffusion = generator.spec.diffusion
  if diffusion.objective == "naive":
    return weights
  number = jax.tree.leaves(weights)[0].shape[0]
  chosen = np.array(evenly_spaced(number, diffusion.segments)) - 1
  return jax.tree.map(lambda leaf: leaf[chosen], weights)


def encode_targets(
  generator: Generator, weights: Any, shots: Float[Array, "N K D"]
) -> Float[Array, "k N W"]:
  """Params with a leading axis k to tokens, as differences from the support's base."""
  base = generator.base(shots)
  return jax.vmap(lambda p: generator.space.encode(p, base))(weights)


def as_arrays(source: TaskSource) -> TaskSource:
  """On the device."""
  return jax.tree.map(jnp.asarray, source)
