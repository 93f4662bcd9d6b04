"""REPTILE (Nichol et al. 2018) as a pseudo-gradient (`method.md` 2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

Params = Any
Loss = Callable[..., tuple[Array, Any]]  # (params, task, key) → (loss, info)


def descend(
  loss: Loss, params: Params, task: Any, key: Key[Array, ""], *, steps: int, rate: float
) -> tuple[Params, tuple[Array, Any]]:
  """J plain gradient steps φ_b ← φ_b − η ∇L(φ_b; task b) with fresh draws each.

  Returns:
    φ_b, and the loss and info of every step, leading axis J.
  """

  def step(params: Params, key: Key[Array, ""]) -> tuple[Params, Any]:
    seen, gradient = jax.value_and_grad(loss, has_aux=True)(params, task, key)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient), seen

  return jax.lax.scan(step, params, jax.random.split(key, steps))


def pseudo_gradient(
  loss: Loss,
  params: Params,
  tasks: Any,
  key: Key[Array, ""],
  *,
  steps: int,
  rate: float,
) -> tuple[Params, tuple[Array, Any]]:
  """g = (φ − mean_b φ_b) / (J η) over tasks (leading axis B); descended with rate ζ J η
  by plain SGD it is φ ← φ + (ζ/B) Σ_b (φ_b − φ). With J = 1 it is the mean gradient."""
  keys = jax.random.split(key, jax.tree.leaves(tasks)[0].shape[0])

  def moved(task: Any, key: Key[Array, ""]) -> tuple[Params, Any]:
    adapted, seen = descend(loss, params, task, key, steps=steps, rate=rate)
    return jax.tree.map(lambda p, q: (p - q) / (steps * rate), params, adapted), seen

  return _mean_over_tasks(moved, tasks, keys)


def _mean_over_tasks(
  fn: Callable[..., tuple[Params, Any]], tasks: Any, keys: Key[Array, " B"]
) -> tuple[Params, Any]:
  """The mean over tasks of the first of `fn`'s results, and the second of each task.

  `vmap` fills an accelerator. On CPU one task follows the other and only their sum is
  kept, so that a task's own copy of the params stays in cache: 1.6 times as fast.
  """
  if jax.default_backend() != "cpu":
    moves, seen = jax.vmap(fn)(tasks, keys)
    return jax.tree.map(lambda m: m.mean(0), moves), seen

  def add(total: Params, task_and_key: Any) -> tuple[Params, Any]:
    move, seen = fn(*task_and_key)
    return jax.tree.map(jnp.add, total, move), seen

  shapes = jax.eval_shape(lambda: fn(*jax.tree.map(lambda x: x[0], (tasks, keys)))[0])
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  total, seen = jax.lax.scan(add, zeros, (tasks, keys))
  return jax.tree.map(lambda m: m / keys.shape[0], total), seen


def mean_gradient(
  loss: Loss, params: Params, tasks: Any, key: Key[Array, ""]
) -> tuple[Params, tuple[Array, Any]]:
  """The gradient of the mean over tasks, at φ itself: single-level training."""
  keys = jax.random.split(key, jax.tree.leaves(tasks)[0].shape[0])

  def mean_loss(params: Params) -> tuple[Array, Any]:
    losses, info = jax.vmap(lambda task, k: loss(params, task, k))(tasks, keys)
    return losses.mean(), (losses, info)

  (_, seen), gradient = jax.value_and_grad(mean_loss, has_aux=True)(params)
  return gradient, seen
