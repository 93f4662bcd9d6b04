"""Logistic regression with an L2 penalty, to its optimum by Newton's method."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform
from mcdi_jax.methods.view import (
  VIEWS,
  Seen,
  Statistics,
  cross_entropy,
  linear,
  predict,
  see,
  view_variables,
  zero_head,
)
from mcdi_jax.tasks import Support

_TOLERANCE = 1e-5  # of the gradient's norm, which is about 1 at the start
_NEWTON_STEPS, _CG_STEPS = 25, 30
_LENGTHS = 0.5 ** np.arange(8, dtype=np.float32)  # of a step along Newton's direction


def adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  """Minimises the mean cross-entropy + ½λ‖W‖²; the bias is free."""
  del key
  seen = see(variables, support, ways)
  return linear(optimum(seen, variables["penalty"]), seen)


def optimum(seen: Seen, penalty: Any) -> Any:
  """Newton's steps, each solved by conjugate gradients, of the best of some lengths."""

  def loss(params: Any) -> Float[Array, ""]:
    square = jnp.sum(params["head"]["kernel"] ** 2)
    return cross_entropy(params, seen) + 0.5 * penalty * square

  gradient = jax.grad(loss)

  def unfinished(carry: tuple[Any, Any, Any]) -> Array:
    _, g, count = carry
    return (optax.tree.norm(g) > _TOLERANCE) & (count < _NEWTON_STEPS)

  def step(carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    params, g, count = carry
    curvature = lambda v: jax.jvp(gradient, (params,), (v,))[1]  # noqa: E731
    direction, _ = jax.scipy.sparse.linalg.cg(curvature, g, tol=1e-3, maxiter=_CG_STEPS)
    reach = lambda length: jax.tree.map(  # noqa: E731
      lambda p, d: p - length * d, params, direction
    )
    losses = jax.vmap(lambda length: loss(reach(length)))(jnp.asarray(_LENGTHS))
    params = reach(jnp.asarray(_LENGTHS)[jnp.argmin(losses)])
    return params, gradient(params), count + 1

  start = zero_head(seen)
  return jax.lax.while_loop(unfinished, step, (start, gradient(start), 0))[0]


def make(settings: dict[str, Any], known: Statistics) -> Method:
  variables = view_variables(settings, known)
  variables["penalty"] = jnp.float32(settings["penalty"])
  return Method("logistic", adapt, predict, variables, settings)


LOGISTIC = Tunable("logistic", make, {"penalty": LogUniform(1e-4, 10.0), **VIEWS})
