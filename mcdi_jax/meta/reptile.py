"""REPTILE (Nichol et al. 2018) as a pseudo-gradient (`method.md` 2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.lib.provenance import platform_used
from mcdi_jax.networks import Params

Loss = Callable[..., tuple[Array, Any]]  # (params, task, key) → (loss, info)


def descend(
  loss: Loss, params: Params, task: Any, key: Key[Array, ""], *, steps: int, rate: float
) -> tuple[Params, tuple[Array, Any]]:
  """J plain gradient steps φ_b ← φ_b − η ∇L(φ_b; task b) with fresh draws each.

  Returns:
    Σ_j ∇L = (φ − φ_b) / η in float32 or wider, which a difference of low-precision params
    would not hold; and the loss and info of every step, leading axis J.
  """

  def step(total: Params, j: Any) -> tuple[Params, Any]:
    k_draws = jax.random.fold_in(key, j)
    adapted = jax.tree.map(lambda p, g: (p - rate * g).astype(p.dtype), params, total)
    losses, gradient = jax.value_and_grad(loss, has_aux=True)(adapted, task, k_draws)
    return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradient), losses

  wide = lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32))  # noqa: E731
  return jax.lax.scan(step, jax.tree.map(wide, params), jnp.arange(steps))


def pseudo_gradient(
  loss: Loss,
  params: Params,
  tasks: Any,
  key: Key[Array, ""],
  *,
  steps: int,
  rate: float,
) -> tuple[Params, tuple[Array, Any]]:
  """g = (φ − mean_b φ_b) / (J η) over tasks (leading axis B), the mean over b of
  (1/J) Σ_j ∇L; descended with rate ζ J η by plain SGD it is φ ← φ + (ζ/B) Σ_b (φ_b − φ).
  With J = 1 it is the mean gradient."""
  keys = jax.random.split(key, _number(tasks))

  def mean_over_steps(task: Any, key: Key[Array, ""]) -> tuple[Params, Any]:
    total, losses = descend(loss, params, task, key, steps=steps, rate=rate)
    return jax.tree.map(lambda t: t / steps, total), losses

  return _mean_over_tasks(mean_over_steps, tasks, keys)


def _mean_over_tasks(
  fn: Callable[..., tuple[Params, Any]], tasks: Any, keys: Key[Array, " B"]
) -> tuple[Params, Any]:
  """The mean over tasks of the first of `fn`'s results, and the second of each task.

  `vmap` fills an accelerator. On CPU one task follows the other and only their sum is
  kept, so that a task's own copy of the params stays in cache: 1.6 times as fast.
  """

  def at_once(tasks: Any, keys: Key[Array, " B"]) -> tuple[Params, Any]:
    found, losses = jax.vmap(fn)(tasks, keys)
    return jax.tree.map(lambda m: m.mean(0), found), losses

  def one_by_one(tasks: Any, keys: Key[Array, " B"]) -> tuple[Params, Any]:
    def add(total: Params, task_and_key: Any) -> tuple[Params, Any]:
      found, losses = fn(*task_and_key)
      return jax.tree.map(jnp.add, total, found), losses

    shapes = jax.eval_shape(lambda: fn(*jax.tree.map(lambda x: x[0], (tasks, keys)))[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, losses = jax.lax.scan(add, zeros, (tasks, keys))
    return jax.tree.map(lambda m: m / keys.shape[0], total), losses

  order = one_by_one if platform_used() == "cpu" else at_once
  return order(tasks, keys)


def mean_gradient_by_platform(
  loss: Loss, params: Params, tasks: Any, key: Key[Array, ""]
) -> tuple[Params, tuple[Array, Any]]:
  """`mean_gradient`, on CPU one task after the other."""

  def one(task: Any, key: Key[Array, ""]) -> tuple[Params, tuple[Array, Any]]:
    losses, gradient = jax.value_and_grad(loss, has_aux=True)(params, task, key)
    return gradient, losses

  return _mean_over_tasks(one, tasks, jax.random.split(key, _number(tasks)))


def mean_gradient(
  loss: Loss, params: Params, tasks: Any, key: Key[Array, ""]
) -> tuple[Params, tuple[Array, Any]]:
  """The gradient of the mean over tasks, at φ itself: single-level training."""
  keys = jax.random.split(key, _number(tasks))

  def mean_loss(params: Params) -> tuple[Array, Any]:
    losses, info = jax.vmap(lambda task, k: loss(params, task, k))(tasks, keys)
    return losses.mean(), (losses, info)

  (_, losses), gradient = jax.value_and_grad(mean_loss, has_aux=True)(params)
  return gradient, losses


def _number(tasks: Any) -> int:
  return jax.tree.leaves(tasks)[0].shape[0]
