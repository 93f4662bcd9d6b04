"""The coefficients that a schedule and its segments give to every step (`method.md` 2)."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mcdi_jax.diffusion.schedule import Schedule, Segments


class Coefficients(NamedTuple):
  """Of one step, or [T] of all of them; for one target i.

  Attributes:
    signal: √ᾱ^i_t.
    noise: √(1−ᾱ^i_t).
    global_noise: √(1−ᾱ_t).
  """

  signal: Any
  noise: Any
  global_noise: Any


class Chain(NamedTuple):
  """Everything about the chain that does not depend on data.

  Attributes:
    alpha: [T].
    segment: int [T]; the segment i(t) that holds t, zero-based.
    start: int [k]; b_{i−1}, where segment i starts.
    stop: int [k]; b_i, where it ends.
    signal, noise: [k, T]; √ᾱ^i_t and √(1−ᾱ^i_t) for t < b_i; 1 and 0 from b_i on.
  """

  alpha: Float[Array, " T"]
  segment: Int[Array, " T"]
  start: Int[Array, " k"]
  stop: Int[Array, " k"]
  signal: Float[Array, "k T"]
  noise: Float[Array, "k T"]

  @property
  def steps(self) -> int:
    return self.alpha.shape[0]

  @property
  def segments(self) -> int:
    return self.stop.shape[0]

  def at(self, i: Any, t: Any) -> Coefficients:
    """Of target i (zero-based) at step t < b_i."""
    return Coefficients(self.signal[i, t], self.noise[i, t], self.noise[-1, t])

  def own(self) -> Coefficients:
    """[T], each step with the target of its own segment."""
    return self.at(self.segment, jnp.arange(self.steps))

  def handover_shift(self) -> Float[Array, " k"]:
    """√(ᾱ^i / (1−ᾱ^i)) at b_{i−1}, by which (θ_{i−1} − θ_i) enters the noise of segment
    i (`method.md` 3.3, 3.4); 0 for the first."""
    i = jnp.arange(self.segments)
    shift = self.signal[i, self.start] / self.noise[i, self.start]
    return jnp.where(i > 0, shift, 0.0)


def chain(schedule: Schedule, segments: Segments) -> Chain:
  """Products of α are taken from each boundary backwards, so that 1−ᾱ^i_t keeps its
  digits where it is small."""
  alpha = schedule.alpha
  stop = jnp.asarray(segments.boundaries)
  ahead = jnp.arange(alpha.shape[0]) < stop[:, None]
  log_alpha = jnp.where(ahead, jnp.log(alpha), 0.0)
  log_alpha_bar = jnp.cumsum(log_alpha[:, ::-1], axis=1)[:, ::-1]
  return Chain(
    alpha=alpha,
    segment=jnp.asarray(segments.of_step()),
    start=jnp.concatenate([jnp.zeros(1, stop.dtype), stop[:-1]]),
    stop=stop,
    signal=jnp.exp(0.5 * log_alpha_bar),
    noise=jnp.sqrt(-jnp.expm1(log_alpha_bar)),
  )
