"""How long generation takes: features → head, and images → head."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mcdi_jax.evaluation.latency import Latency, matmul_peak, measure, program_flops
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.tasks import Protocol, Support

BATCHES = (1, 256)


class Timing(NamedTuple):
  """One timed way to generate.

  Attributes:
    protocol: `latency-head`: from features; `latency-backbone`: from images.
    latency: its median.
    settings: `compile_s`; from features also `share_of_matmul_peak` and the peak.
  """

  protocol: str
  latency: Latency
  settings: dict[str, float]


def time_generation(
  generator: Generator, form: Protocol, *, calls: int, temperature: float = 0.0
) -> list[Timing]:
  """Times 1 and 256 tasks at once, from features and from images, each call to its end."""
  label = jnp.repeat(jnp.arange(form.ways), form.shots)
  backbone = generator.spec.backbone.apply

  def from_features(g: Generator, x: Any, key: Any) -> Any:
    support = Support(x, label)
    return generate_from_features(g, support, key, temperature=temperature, ways=form.ways)

  def from_images(g: Generator, x: Any, key: Any) -> Any:
    return from_features(g, backbone(g.backbone, x), key)

  key, peak, found = jax.random.key(0), matmul_peak(), []
  images = jax.random.uniform(key, (len(label), *generator.spec.image_shape))
  features = backbone(generator.backbone, images)
  for batch in BATCHES:
    flops = _head_flops(generator, form, batch)
    latency = _measure(from_features, generator, features, key, batch, calls, flops)
    share = {
      "share_of_matmul_peak": latency.flops_per_s / peak,
      "matmul_peak_gflops": peak / 1e9,
    }
    found.append(Timing("latency-head", latency, {"compile_s": latency.compile_s, **share}))
    latency = _measure(from_images, generator, images, key, batch, calls, 0.0)
    found.append(Timing("latency-backbone", latency, {"compile_s": latency.compile_s}))
  return sorted(found, key=lambda timing: timing.protocol, reverse=True)


def _measure(
  fn: Any, generator: Generator, x: Any, key: Any, batch: int, calls: int, flops: float
) -> Latency:
  if batch == 1:
    return measure(jax.jit(fn), generator, x, key, batch=1, calls=calls, flops=flops)
  many = jax.jit(jax.vmap(fn, in_axes=(None, 0, 0)))
  xs = jnp.tile(x[None], (batch,) + (1,) * x.ndim)
  keys = jax.random.split(key, batch)
  return measure(many, generator, xs, keys, batch=batch, calls=calls, flops=flops)


def _head_flops(generator: Generator, form: Protocol, batch: int) -> float:
  """Of the condition and of T evaluations of the score network, counted apart because a
  loop's body counts once in XLA's analysis."""
  width = generator.space.width
  x = jnp.zeros((batch, form.ways * form.shots, width - 1))
  label = jnp.repeat(jnp.arange(form.ways), form.shots)
  tokens = jnp.zeros((batch, form.ways, width))
  condition = jax.vmap(lambda x: generator.condition(Support(x, label), form.ways))
  step = jax.vmap(lambda c, x: generator.predict(c, x, 0))
  once = program_flops(condition, x)
  each = program_flops(step, condition(x), tokens)
  return once + generator.spec.diffusion.steps * each
