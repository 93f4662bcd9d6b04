"""Weights that a generator makes, as a method among the others."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float, Key

from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.methods.method import Method
from mcdi_jax.tasks import Support


def adapt(
  variables: tuple[Generator, Any], support: Support, key: Key[Array, ""], ways: int
) -> Any:
  generator, temperature = variables
  return generate_from_features(generator, support, key, temperature=temperature, ways=ways)


def predict(
  variables: tuple[Generator, Any], params: Any, x: Float[Array, "m ..."]
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
  return Method(name, adapt, predict, (generator, np.float32(temperature)), settings)
