"""How long methods take, a task at a time and many at once."""

from typing import Any

import jax
import jax.numpy as jnp

from mcdi_jax.evaluation import (
  Facts,
  Timing,
  batches,
  draw_task,
  latency_line,
  noise_like,
  task_keys,
  time_generation,
  time_methods,
  with_share_of_peak,
)
from mcdi_jax.generator import Generator
from mcdi_jax.lib import provenance
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import Method, generated
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.controls import drawn_supports
from mcdi_jax.pipeline.tuning import Tuned
from mcdi_jax.tasks import Form, Protocol, Support


def latencies(
  config: Config,
  facts: Facts,
  methods: list[Method],
  generators: dict[str, Tuned],
  form: Protocol,
  test: Any,
) -> list[dict[str, Any]]:
  """Of every method from embedded items, one task and, where they are computed at once,
  many; of generators also from raw ones."""
  CONSOLE.print(f"{form}: timing {len(methods)} methods")
  sizes = batches(facts.family, provenance.platform_used())
  keys = task_keys(config.evaluation.eval_seed, max(sizes))
  supports = drawn_supports(keys, test, facts.family, form)
  seconds = config.evaluation.latency_s / len(config.forms)
  timed = len(sizes) * len(methods)
  share = lambda number: seconds * number / (timed + 2 * len(generators))  # noqa: E731
  found = time_methods(methods, supports, form.ways, seconds=share(timed))
  for name, (trained, choice) in generators.items():
    temperature = choice.settings["temperature"]
    call = (name, fit_to(trained.generator, form, test), form)
    found += time_generation(*call, seconds=share(2), temperature=temperature)
  return [latency_line(facts, form, timing) for timing in found]


def benchmark(generator: Generator, form: Protocol, *, seconds: float) -> list[Timing]:
  """Times a generator from embedded items and from raw ones, without any data."""
  method = generated("generated", generator, 0.0)
  sizes = batches(generator.family, provenance.platform_used())
  tasks = max(sizes)
  given = generator.family.example(Form(form.ways, form.shots))
  like = jax.eval_shape(generator.embed, given.x)
  several = jax.ShapeDtypeStruct((tasks, *like.shape), like.dtype)
  x = noise_like(several, jax.random.key(0))
  labels = jnp.broadcast_to(given.y, (tasks, *given.y.shape))
  supports = Support(x, labels)
  found = time_methods([method], supports, form.ways, seconds=seconds / 2)
  found = with_share_of_peak(found, generator, form)
  raw = {"seconds": seconds / 2, "batches": sizes}
  return found + time_generation(method.name, generator, form, **raw)


def fit_to(generator: Generator, form: Protocol, test: Any) -> Generator:
  """For items of the shape of the test's, where it was trained on others."""
  least = form._replace(shots=1, queries=1)
  draw = lambda key, test: draw_task(key, generator.family, test, least)[0]  # noqa: E731
  shape = jax.eval_shape(draw, jax.random.key(0), test)
  return generator.of_items(shape.support.x.shape[1:])
