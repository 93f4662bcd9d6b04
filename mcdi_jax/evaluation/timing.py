"""How long every method takes: features → classifier; generators also images → weights."""

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mcdi_jax.evaluation.latency import Latency, matmul_peak, measure, program_flops
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator, generate, generate_from_features
from mcdi_jax.lib.programs import make_room
from mcdi_jax.methods import Method
from mcdi_jax.tasks import Form, Protocol, Support

_MANY = 256


def batches(family: TaskFamily, platform: str) -> tuple[int, ...]:
  """Tasks at once that are timed: one, and many, which fill an accelerator; where many
  would be computed one after the other, as whole networks are on CPU, one says it all."""
  return (1,) if family.one_by_one and platform == "cpu" else (1, _MANY)


class Timing(NamedTuple):
  """One timed way to adapt.

  Attributes:
    method: as in results.
    protocol: `latency-head`: from features, compiled. Of generators also
      `latency-backbone`: the same from images; `latency-public`: `mcdi_jax.generate` from
      images, as it is called for a task, with all its checks.
    latency: its median.
    settings: `compile_s`, `calls`; for some also `share_of_matmul_peak` and the peak.
  """

  method: str
  protocol: str
  latency: Latency
  settings: dict[str, float]


def _timing(method: str, protocol: str, latency: Latency, **settings: float) -> Timing:
  known = {"compile_s": latency.compile_s, "calls": latency.calls}
  return Timing(method, protocol, latency, known | settings)


def time_methods(
  methods: list[Method], supports: Support, ways: int, *, seconds: float
) -> list[Timing]:
  """`latency-head` of each method, of one and, if there are more, of all tasks at once.

  Args:
    supports: of features, x [tasks, n, D], y [tasks, n].
    seconds: for the timed calls of all.
  """
  calls = []
  make_room()
  for method in methods:
    keys = jax.random.split(jax.random.key(0), len(supports.x))
    one = jax.tree.map(lambda leaf: leaf[0], (supports, keys))
    calls.append((method, 1, (method.variables, *one)))
    if len(keys) > 1:
      calls.append((method, len(keys), (method.variables, supports, keys)))
  lowered = [
    _adapter(method.adapt, ways, batch > 1).lower(*arguments)
    for method, batch, arguments in calls
  ]
  found = []
  for call, (fn, compile_s) in zip(calls, _compiled(lowered), strict=True):
    method, batch, arguments = call
    latency = measure(fn, *arguments, batch=batch, seconds=seconds / len(calls))
    latency = latency._replace(compile_s=compile_s)
    found.append(_timing(method.name, "latency-head", latency))
  return found


def _compiled(lowered: list[Any]) -> list[tuple[Any, float]]:
  """Programs and the seconds each took. Compiling is most of the time here, and several
  cores share it."""

  def compiled(program: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return program.compile(), time.perf_counter() - start

  with ThreadPoolExecutor() as pool:
    return list(pool.map(compiled, lowered))


def _adapter(adapt: Any, ways: int, many: bool) -> Any:
  one = functools.partial(adapt, ways=ways)
  return jax.jit(jax.vmap(one, in_axes=(None, 0, 0)) if many else one)


def time_generation(
  name: str,
  generator: Generator,
  form: Protocol,
  *,
  seconds: float,
  temperature: float = 0.0,
  batches: tuple[int, ...] = (1,),
) -> list[Timing]:
  """`latency-backbone` of each number of tasks and `latency-public` of one, from items of
  noise, whose values the work does not depend on."""
  key = jax.random.key(0)
  given = generator.family.example(Form(form.ways, form.shots))
  items = noise_like(given.x, key)

  def internal(g: Generator, x: Any, key: Any) -> Any:
    support = given._replace(x=g.family.embed(g.frozen, x))
    return generate_from_features(g, support, key, temperature=temperature, ways=form.ways)

  def public(g: Generator, x: Any, key: Any) -> Any:
    support = given._replace(x=x)
    return generate(g, support, key, temperature=temperature, ways=form.ways)

  share = seconds / (len(batches) + 1)
  found = []
  for batch in batches:
    fn, arguments = jax.jit(internal), (items, key)
    if batch > 1:
      fn = jax.jit(jax.vmap(internal, in_axes=(None, 0, 0)))
      tiled = jnp.tile(items[None], (batch,) + (1,) * items.ndim)
      arguments = (tiled, jax.random.split(key, batch))
    latency = measure(fn, generator, *arguments, batch=batch, seconds=share)
    found.append(_timing(name, "latency-backbone", latency))
  latency = measure(public, generator, items, key, batch=1, seconds=share)
  return [*found, _timing(name, "latency-public", latency)]


def noise_like(items: Any, key: Any) -> Array:
  """Items of this shape and kind: uniform in [0, 1], or tokens 0."""
  if jnp.issubdtype(items.dtype, jnp.integer):
    return jnp.zeros(items.shape, items.dtype)
  return jax.random.uniform(key, items.shape)


def with_share_of_peak(
  timings: list[Timing], generator: Generator, form: Protocol
) -> list[Timing]:
  """What share of the machine's float32 matmul peak generation from features reaches."""
  peak, flops = matmul_peak(), _generation_flops(generator, form)
  found = []
  for timing in timings:
    rate = 1000 * flops * timing.latency.batch / timing.latency.median_ms
    share = {"share_of_matmul_peak": rate / peak, "matmul_peak_gflops": peak / 1e9}
    found.append(timing._replace(settings=timing.settings | share))
  return found


def _generation_flops(generator: Generator, form: Protocol) -> float:
  """Of the condition and of T evaluations of the score network, counted apart because a
  loop's body counts once in XLA's analysis."""
  given = generator.family.example(Form(form.ways, form.shots))
  x = generator.embed(given.x)
  tokens = jnp.zeros((generator.space.rows(form.ways), generator.space.width))
  condition = lambda x: generator.condition(given._replace(x=x), form.ways)  # noqa: E731
  step = lambda c, tokens: generator.predict(c, tokens, 0)  # noqa: E731
  once = program_flops(condition, x)
  each = program_flops(step, condition(x), tokens)
  return once + generator.spec.diffusion.steps * each
