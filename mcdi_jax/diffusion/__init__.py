"""Local consistency diffusion: plain functions of arrays (`method.md` sections 2 and 3)."""

from mcdi_jax.diffusion.chain import Chain, Coefficients, chain
from mcdi_jax.diffusion.loss import OBJECTIVES, Example, Objective
from mcdi_jax.diffusion.prediction import FORMS, Estimate
from mcdi_jax.diffusion.sampler import SAMPLERS, Sampler, sample_chain
from mcdi_jax.diffusion.schedule import (
  DiffusionConfig,
  Schedule,
  Segments,
  alphas,
  make_schedule,
  make_segments,
)

__all__ = [
  "FORMS",
  "OBJECTIVES",
  "SAMPLERS",
  "Chain",
  "Coefficients",
  "DiffusionConfig",
  "Estimate",
  "Example",
  "Objective",
  "Sampler",
  "Schedule",
  "Segments",
  "alphas",
  "chain",
  "make_schedule",
  "make_segments",
  "sample_chain",
]
