"""The local consistency loss, published and windowed (`method.md` 2, 3.2, 3.4, 3.5), and
the loss without local consistency that it is compared with (3.14).

Each function treats one example of one task. Residuals come back element by element: the
caller squares and averages them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.diffusion.chain import Chain
from mcdi_jax.diffusion.prediction import FORMS, Form, preconditioned_target

DrawNoise = Callable[[Key[Array, ""]], Array]


class Example(NamedTuple):
  """A noised weight and what there is to learn from it.

  Attributes:
    i: the segment whose target this is, zero-based.
    t: the step, t < b_i.
    x: x_t = √ᾱ^i_t θ + √(1−ᾱ^i_t) ε.
    theta: θ_{id}.
    eps: ε (with a hand-over: the ε′ that holds with this θ).
  """

  i: Any
  t: Any
  x: Any
  theta: Any
  eps: Any


def published_example(
  key: Key[Array, ""],
  targets: Float[Array, " k *s"],
  chain: Chain,
  draw_noise: DrawNoise,
) -> Example:
  """i uniform, then t uniform in [0, b_i)."""
  k_i, k_t, k_eps = jax.random.split(key, 3)
  i = jax.random.randint(k_i, (), 0, chain.segments)
  t = jax.random.randint(k_t, (), 0, chain.stop[i])
  return _noised(i, t, targets[i], draw_noise(k_eps), chain)


def windowed_example(
  key: Key[Array, ""],
  targets: Float[Array, " k *s"],
  chain: Chain,
  draw_noise: DrawNoise,
  *,
  handover: float = 0.0,
) -> Example:
  """t uniform in [0, T), i = i(t); with probability `handover` x_t is a point that the
  sampler visits when it comes out of segment i−1 (`method.md` 3.4)."""
  k_t, k_eps, k_handover = jax.random.split(key, 3)
  t = jax.random.randint(k_t, (), 0, chain.steps)
  i = chain.segment[t]
  eps = draw_noise(k_eps)
  if handover:
    bend = targets[i - 1] - targets[i]  # for i = 0 of no weight: its shift is 0
    came = jax.random.bernoulli(k_handover, handover)
    eps = eps + jnp.where(came, chain.handover_shift()[i], 0.0) * bend
  return _noised(i, t, targets[i], eps, chain)


def naive_example(
  key: Key[Array, ""],
  targets: Float[Array, " k *s"],
  chain: Chain,
  draw_noise: DrawNoise,
) -> Example:
  """i uniform and t uniform in [0, T): every target is the end of the whole chain, which
  has one segment (`method.md` 3.14)."""
  k_i, k_t, k_eps = jax.random.split(key, 3)
  i = jax.random.randint(k_i, (), 0, len(targets))
  t = jax.random.randint(k_t, (), 0, chain.steps)
  return _noised(chain.segments - 1, t, targets[i], draw_noise(k_eps), chain)


def _noised(i: Any, t: Any, theta: Array, eps: Array, chain: Chain) -> Example:
  c = chain.at(i, t)
  return Example(i, t, c.signal * theta + c.noise * eps, theta, eps)


def consistency_residual(
  output: Float[Array, "*s"], example: Example, chain: Chain, form: Form
) -> Float[Array, "*s"]:
  """√(1−ᾱ^i_t) f − √(1−ᾱ_t) ε: of L_i in `method.md` 2; the network's own segment,
  which turns its output into f, is i(t)."""
  own = chain.at(chain.segment[example.t], example.t)
  f = form(output, example.x, own).f
  c = chain.at(example.i, example.t)
  return c.noise * f - c.global_noise * example.eps


def preconditioned_residual(
  output: Float[Array, "*s"], example: Example, chain: Chain, form: Form
) -> Float[Array, "*s"]:
  """F − F*, unweighted (`method.md` 3.5)."""
  del form
  own = chain.at(example.i, example.t)
  return output - preconditioned_target(example.theta, example.x, own)


class Objective(NamedTuple):
  """`draw(key, targets, chain, draw_noise) → Example` (the windowed one also takes
  `handover`), `residual(output, example, chain, form)`, and `form`."""

  draw: Callable[..., Example]
  residual: Callable[..., Array]
  form: Form


OBJECTIVES = {
  ("published", "plain"): Objective(
    published_example, consistency_residual, FORMS["plain"]
  ),
  ("windowed", "plain"): Objective(windowed_example, consistency_residual, FORMS["plain"]),
  ("naive", "plain"): Objective(naive_example, consistency_residual, FORMS["plain"]),
  ("published", "preconditioned"): Objective(
    published_example, consistency_residual, FORMS["preconditioned"]
  ),
  ("windowed", "preconditioned"): Objective(
    windowed_example, preconditioned_residual, FORMS["preconditioned"]
  ),
  ("naive", "preconditioned"): Objective(
    naive_example, preconditioned_residual, FORMS["preconditioned"]
  ),
}
