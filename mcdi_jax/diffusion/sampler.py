"""The two samplers (`method.md` 2 and 3.3): one loop over T steps, and what each step is.

`z` is standard normal noise (in the gauge, if the weights have one); temperature τ scales
it at the start and wherever it is injected.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.diffusion.chain import Chain, Coefficients
from mcdi_jax.diffusion.loss import DrawNoise
from mcdi_jax.diffusion.prediction import Estimate, Form

Predict = Callable[[Array, Any], Array]


class Sampler(NamedTuple):
  """A way from x_t to x_{t+1}.

  Attributes:
    coefficients: `coefficients(chain, ancestral) → pytree of [T]`.
    update: `update(x_t, estimate, coefficients of t) → x_{t+1}` but for injected noise.
    injected: `injected(coefficients)`: what τ z is multiplied by; None: nothing is.
  """

  coefficients: Callable[[Chain, bool], Any]
  update: Callable[[Array, Estimate, Any], Array]
  injected: Callable[[Any], Any] | None


def sample_chain(
  sampler: Sampler,
  predict: Predict,
  z: Float[Array, "*s"],
  key: Key[Array, ""],
  *,
  chain: Chain,
  form: Form,
  draw_noise: DrawNoise,
  temperature: Any = 0.0,
  ancestral: bool = False,
) -> tuple[Float[Array, "*s"], Float[Array, " T *s"]]:
  """From x_0 = τ z.

  Args:
    predict: `predict(x, t) → output`, the network.
    form: what the network's output means.
    key: of the injected noise.
    ancestral: whether noise is injected, where the sampler has that.

  Returns:
    x_T and the path x_1 … x_T.
  """

  def step(x: Array, per_step: Any) -> tuple[Array, Array]:
    t, own, coefficients = per_step
    x = sampler.update(x, form(predict(x, t), x, own), coefficients)
    if ancestral and sampler.injected:
      fresh = draw_noise(jax.random.fold_in(key, t))
      x = x + temperature * sampler.injected(coefficients) * fresh
    return x, x

  coefficients = sampler.coefficients(chain, ancestral)
  per_step = (jnp.arange(chain.steps), chain.own(), coefficients)
  return jax.lax.scan(step, temperature * z, per_step)


class _Published(NamedTuple):
  alpha: Any
  global_noise: Any


def _published_coefficients(chain: Chain, ancestral: bool) -> _Published:
  del ancestral
  return _Published(chain.alpha, chain.own().global_noise)


def _published_update(x: Array, estimate: Estimate, c: _Published) -> Array:
  """x_{t+1} = (x_t − (1−α_t)/√(1−ᾱ_t) f) / √α_t; nothing is injected."""
  return (x - (1 - c.alpha) / c.global_noise * estimate.f) / jnp.sqrt(c.alpha)


class _Windowed(NamedTuple):
  """Of θ̂, of ε̂ and of τ z in x_{t+1}."""

  signal: Any
  kept: Any
  injected: Any


def _windowed_update(x: Array, estimate: Estimate, c: _Windowed) -> Array:
  """With (θ̂, ε̂) of step t,

    x_{t+1} = √ᾱ^i_{t+1} θ̂ + √(1−ᾱ^i_{t+1}−s σ_t²) ε̂ + √s τ σ_t z    within segment i,
    x_{b_i} = √ᾱ^{i+1}_{b_i} θ̂ + √(1−ᾱ^{i+1}_{b_i}) n               at its end,
    x_T = θ̂,

  n = ε̂ for s = 0 and τ z for s = 1 (`ancestral`). All three are one formula: the signal
  is √ᾱ of the segment that holds t+1."""
  del x
  return c.signal * estimate.theta + c.kept * estimate.eps


def _windowed_coefficients(chain: Chain, ancestral: bool) -> _Windowed:
  own = chain.own()
  after = jax.tree.map(lambda c, end: jnp.append(c[1:], end), own, _END)
  if not ancestral:
    return _Windowed(after.signal, after.noise, jnp.zeros_like(after.noise))
  t = jnp.arange(chain.steps)
  hands_over = t + 1 == chain.stop[chain.segment]
  # σ_t² = (1−α_t)(1−ᾱ^i_{t+1})/(1−ᾱ^i_t); at b_i itself all noise is fresh.
  variance = jnp.where(
    hands_over, after.noise**2, (1 - chain.alpha) * (after.noise / own.noise) ** 2
  )
  kept = jnp.sqrt(jnp.maximum(after.noise**2 - variance, 0.0))
  return _Windowed(after.signal, kept, jnp.sqrt(variance))


_END = Coefficients(1.0, 0.0, 0.0)  # x_T = θ̂

SAMPLERS = {
  "published": Sampler(_published_coefficients, _published_update, None),
  "windowed": Sampler(
    _windowed_coefficients, _windowed_update, lambda coefficients: coefficients.injected
  ),
}
