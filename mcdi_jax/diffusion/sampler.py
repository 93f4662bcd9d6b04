"""The two samplers (`method.md` 2 and 3.3).

Both carry x_t through T steps with `lax.scan`. `predict(x, t) → output` is the network,
`form` says what its output means, `z` is standard normal noise (in the gauge, if the
weights have one) and temperature τ scales it at the start and wherever it is injected.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.diffusion.chain import Chain, Coefficients
from mcdi_jax.diffusion.loss import DrawNoise
from mcdi_jax.diffusion.prediction import Form

Predict = Callable[[Array, Any], Array]


def published_sampler(
  predict: Predict,
  z: Float[Array, "*s"],
  key: Key[Array, ""],
  *,
  chain: Chain,
  form: Form,
  draw_noise: DrawNoise,
  temperature: Any = 0.0,
  ancestral: bool = False,
) -> tuple[Float[Array, "*s"], Float[Array, "T *s"]]:
  """x_{t+1} = (x_t − (1−α_t)/√(1−ᾱ_t) f) / √α_t from x_0 = τ z; nothing is injected.

  Returns:
    x_T and the path x_1 … x_T.
  """
  del key, draw_noise, ancestral

  def step(x, per_step):
    t, alpha, own = per_step
    f = form(predict(x, t), x, own).f
    x = (x - (1 - alpha) / own.global_noise * f) / jnp.sqrt(alpha)
    return x, x

  per_step = (jnp.arange(chain.steps), chain.alpha, chain.own())
  return jax.lax.scan(step, temperature * z, per_step)


def windowed_sampler(
  predict: Predict,
  z: Float[Array, "*s"],
  key: Key[Array, ""],
  *,
  chain: Chain,
  form: Form,
  draw_noise: DrawNoise,
  temperature: Any = 0.0,
  ancestral: bool = False,
) -> tuple[Float[Array, "*s"], Float[Array, "T *s"]]:
  """From x_0 = τ z, with (θ̂, ε̂) of step t,

    x_{t+1} = √ᾱ^i_{t+1} θ̂ + √(1−ᾱ^i_{t+1}−s σ_t²) ε̂ + √s τ σ_t z    within segment i,
    x_{b_i} = √ᾱ^{i+1}_{b_i} θ̂ + √(1−ᾱ^{i+1}_{b_i}) n               at its end,
    x_T = θ̂,

  n = ε̂ for s = 0 and τ z for s = 1 (`ancestral`). All three are one formula: the signal
  is √ᾱ of the segment that holds t+1.

  Returns:
    x_T and the path x_1 … x_T.
  """

  def step(x, per_step):
    t, own, signal, kept, injected = per_step
    estimate = form(predict(x, t), x, own)
    x = signal * estimate.theta + kept * estimate.eps
    if ancestral:
      fresh = draw_noise(jax.random.fold_in(key, t))
      x = x + temperature * injected * fresh
    return x, x

  coefficients = _windowed_coefficients(chain, ancestral)
  per_step = (jnp.arange(chain.steps), chain.own(), *coefficients)
  return jax.lax.scan(step, temperature * z, per_step)


def _windowed_coefficients(
  chain: Chain, ancestral: bool
) -> tuple[Float[Array, " T"], Float[Array, " T"], Float[Array, " T"]]:
  """[T] each: of θ̂, of ε̂ and of τ z in x_{t+1}."""
  own = chain.own()
  after = jax.tree.map(lambda c, end: jnp.append(c[1:], end), own, _END)
  if not ancestral:
    return after.signal, after.noise, jnp.zeros_like(after.noise)
  t = jnp.arange(chain.steps)
  hands_over = t + 1 == chain.stop[chain.segment]
  # σ_t² = (1−α_t)(1−ᾱ^i_{t+1})/(1−ᾱ^i_t); at b_i itself all noise is fresh.
  variance = jnp.where(
    hands_over, after.noise**2, (1 - chain.alpha) * (after.noise / own.noise) ** 2
  )
  kept = jnp.sqrt(jnp.maximum(after.noise**2 - variance, 0.0))
  return after.signal, kept, jnp.sqrt(variance)


_END = Coefficients(1.0, 0.0, 0.0)  # x_T = θ̂

SAMPLERS = {"published": published_sampler, "windowed": windowed_sampler}
