"""REPTILE (Nichol et al. 2018) as a pseudo-gradient (`method.md` 2)."""

from collections.abc import Callable
from typing import Any

import jax
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
  adapted, seen = jax.vmap(
    lambda task, k: descend(loss, params, task, k, steps=steps, rate=rate)
  )(tasks, keys)
  gradient = jax.tree.map(
    lambda p, q: (p - q.mean(0)) / (steps * rate), params, adapted
  )
  return gradient, seen


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
