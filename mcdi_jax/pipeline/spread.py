"""Samples as distributions: generators at τ = 1, and at the τ where all are equally spread
(`method.md` 3.14)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mcdi_jax.evaluation import draw_task, task_keys
from mcdi_jax.generator import Generator
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import Method, generated
from mcdi_jax.pipeline.config import GENERATORS, Config
from mcdi_jax.pipeline.tuning import Tuned
from mcdi_jax.tasks import Protocol
from mcdi_jax.weights import WeightSpace

AT_ONE, EQUALLY_SPREAD = "_at_tau_1", "_at_equal_spread"
_TASKS = 32  # validation tasks that a spread is measured on
_HALVINGS = 10  # of the interval in which τ lies


class SampleRow(NamedTuple):
  """A generator's samples as a method, and the row that it is compared with beside
  `generated`."""

  method: Method
  against: str


def sample_rows(
  config: Config, generators: dict[str, Tuned], form: Protocol, val: Any
) -> list[SampleRow]:
  """Two rows for each generator that samples: at τ = 1, and at the τ at which its samples
  are as far apart as those of the least spread generator are at τ = 1, in one space for all
  and on validation tasks. Those samples that are trained for: by the loss of weights, or
  by that of queries at some τ."""
  samples = config.evaluation.samples
  if not samples:
    return []
  chosen = {
    name: tuned.trained.generator
    for name, tuned in generators.items()
    if tuned.trained.generator.spec.diffusion.steps > 1
    and (GENERATORS[name].algorithm != "query_loss" or config.finishing.temperature)
  }
  space = next(iter(generators.values())).trained.generator.space
  keys = task_keys(config.evaluation.eval_seed, _TASKS, "spread")

  @jax.jit
  def spread(generator: Generator, temperature: Any, val: Any) -> Array:
    def of_task(key: Any) -> Array:
      task, _, key = draw_task(key, generator.family, val, form)
      condition = generator.condition(task.support, form.ways)

      def sample(key: Any) -> Any:
        tokens, _ = generator.sample(condition, key, temperature=temperature)
        return generator.space.decode(tokens, condition.base)

      return pairwise_distance(jax.vmap(sample)(jax.random.split(key, samples)), space)

    return jnp.mean(jax.lax.map(of_task, keys))

  at_one = {name: float(spread(g, 1.0, val)) for name, g in chosen.items()}
  least, found = min(filter(np.isfinite, at_one.values()), default=np.nan), []
  for name, generator in chosen.items():
    if not np.isfinite(at_one[name]):
      CONSOLE.print(f"warning: {name}: its samples at τ = 1 are not finite")
      continue
    own = lambda tau, g=generator: float(spread(g, tau, val))  # noqa: E731
    equal = _crossing(own, least)
    for suffix, tau in ((AT_ONE, 1.0), (EQUALLY_SPREAD, equal)):
      method = generated(name, generator, tau)
      told = {**method.settings, "pairwise_distance": own(tau)}
      CONSOLE.print(f"{name}: spread {told['pairwise_distance']:.3g} at τ = {tau:.3g}")
      method = method._replace(name=name + suffix, settings=told)
      found.append(SampleRow(method, "generated" + suffix))
  return found


def pairwise_distance(samples: Any, space: WeightSpace) -> Float[Array, ""]:
  """Root mean square over pairs of samples, params with a leading axis m, and over the
  coordinates of a space: √2 where they are independent and of unit variance."""
  tokens = jax.vmap(space.encode)(samples)
  m = len(tokens)
  square = jnp.sum((tokens - tokens.mean(0)) ** 2) * 2 / (m - 1)
  return jnp.sqrt(square / space.free_weights(space.ways(tokens)))


def _crossing(spread: Any, wanted: float) -> float:
  """The τ at which a spread that grows with it is the wanted one; at most 1."""
  if spread(1.0) <= wanted:
    return 1.0
  low, high = 0.0, 1.0
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    low, high = (middle, high) if spread(middle) < wanted else (low, middle)
  return (low + high) / 2
