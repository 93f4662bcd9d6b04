"""What a network's output says about target and noise (`method.md` 3.5)."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from mcdi_jax.diffusion.chain import Coefficients


class Estimate(NamedTuple):
  """theta: θ̂, the target of the step's own segment. eps: ε̂, the noise in x_t.
  f: the published prediction, √(1−ᾱ_t)/√(1−ᾱ^i_t) · ε̂."""

  theta: Any
  eps: Any
  f: Any


Form = Callable[[Array, Array, Coefficients], Estimate]


def plain(output: Float[Array, "*s"], x: Float[Array, "*s"], own: Coefficients) -> Estimate:
  """The output is f."""
  eps = output * own.noise / own.global_noise
  return Estimate((x - own.noise * eps) / own.signal, eps, output)


def preconditioned(
  output: Float[Array, "*s"], x: Float[Array, "*s"], own: Coefficients
) -> Estimate:
  """The output is F: θ̂ = √ᾱ^i_t x_t + √(1−ᾱ^i_t) F."""
  theta = own.signal * x + own.noise * output
  # ε̂ = (x − √ᾱ θ̂)/√(1−ᾱ) with θ̂ put in: no division by a small number is left.
  eps = own.noise * x - own.signal * output
  return Estimate(theta, eps, eps * own.global_noise / own.noise)


def preconditioned_target(
  theta: Float[Array, "*s"], x: Float[Array, "*s"], own: Coefficients
) -> Float[Array, "*s"]:
  """F* = (θ − √ᾱ^i_t x_t)/√(1−ᾱ^i_t): unit scale at every t if θ has unit scale."""
  return (theta - own.signal * x) / own.noise


FORMS: dict[str, Form] = {"plain": plain, "preconditioned": preconditioned}
