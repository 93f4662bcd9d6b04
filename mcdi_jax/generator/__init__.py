"""The generator of weights: score network, condition, and the pure function `generate`."""

from mcdi_jax.generator.compose import descended, ensemble, guide, iterate, refine
from mcdi_jax.generator.condition import Condition, Given
from mcdi_jax.generator.export import export_generate
from mcdi_jax.generator.generate import generate, generate_from_features
from mcdi_jax.generator.generator import Generator
from mcdi_jax.generator.model import Model
from mcdi_jax.generator.score import ScoreConfig
from mcdi_jax.generator.specification import GeneratorSpec
from mcdi_jax.generator.storage import load_generator, save_generator

__all__ = [
  "Condition",
  "Generator",
  "GeneratorSpec",
  "Given",
  "Model",
  "ScoreConfig",
  "descended",
  "ensemble",
  "export_generate",
  "generate",
  "generate_from_features",
  "guide",
  "iterate",
  "load_generator",
  "refine",
  "save_generator",
]
