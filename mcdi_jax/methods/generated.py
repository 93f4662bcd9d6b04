"""Weights that a generator makes, as a method among the others."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Array, Key, Shaped

from mcdi_jax.generator import Generator, ensemble, generate_from_features, iterate
from mcdi_jax.generator.model import Model
from mcdi_jax.methods.method import Method
from mcdi_jax.tasks import Support


def adapt(
  variables: tuple[Generator, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  return generate_from(*variables, support, key, ways)


def kept(temperature: float) -> Any:
  """τ among a method's variables; 0 is None, so that it is known where it is compiled:
  there is less to compute."""
  return np.float32(temperature) if temperature else None


def generate_from(
  generator: Model, temperature: Any, support: Support, key: Any, ways: int
) -> Any:
  """temperature: as `kept`."""
  settings = {"temperature": 0.0 if temperature is None else temperature, "ways": ways}
  return generate_from_features(generator, support, key, **settings)


def predict(
  variables: tuple[Generator, Any], params: Any, x: Shaped[Array, "m ..."]
) -> Array:
  generator, _ = variables
  return generator.spec.family.apply(generator.frozen, params, x)


def generated(name: str, generator: Generator, temperature: float) -> Method:
  d = generator.spec.diffusion
  settings = {
    "k": d.segments,
    "T": d.steps,
    "loss": f"{d.objective}, {d.form}",
    "sampler": d.sampler_name + (", ancestral" if d.ancestral else ""),
    "handover": d.handover,
    "temperature": temperature,
    "network": generator.spec.score.network,
    "base": generator.spec.base,
  }
  return Method(name, adapt, predict, (generator, kept(temperature)), settings)


def iterated(name: str, generator: Generator, temperature: float, passes: int) -> Method:
  """`NAME_n`: what `compose.iterate` makes in so many passes."""
  method = generated(f"{name}_{passes}", generator, temperature)
  return method._replace(
    adapt=_adapt_in(passes), settings={**method.settings, "passes": passes}
  )


@functools.cache
def _adapt_in(passes: int) -> Any:
  def adapt(
    variables: tuple[Generator, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    generator, temperature = variables
    return generate_from(iterate(generator, passes), temperature, support, key, ways)

  return adapt


def ensembled(name: str, generator: Generator, samples: int) -> Method:
  """`NAME_ensemble`: samples at τ = 1, whose outputs are averaged as the family does it."""
  method = generated(f"{name}_ensemble", generator, 1.0)
  adapt, predict = _of_ensemble(samples)
  settings = {**method.settings, "samples": samples}
  return method._replace(adapt=adapt, predict=predict, settings=settings)


@functools.cache
def _of_ensemble(samples: int) -> tuple[Any, Any]:
  def adapt(
    variables: tuple[Generator, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    generator, temperature = variables
    model = ensemble(generator, samples=samples)
    support = support._replace(x=(support.x,))
    return generate_from(model, temperature, support, key, ways)

  def predict(
    variables: tuple[Generator, Any], params: Any, x: Shaped[Array, "m ..."]
  ) -> Array:
    return ensemble(variables[0], samples=samples).outputs(params, (x,))

  return adapt, predict
