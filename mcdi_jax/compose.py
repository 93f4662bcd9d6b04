"""Models made of models: see `mcdi_jax.generator.compose`."""

from mcdi_jax.generator.compose import ensemble, guide, refine

__all__ = ["ensemble", "guide", "refine"]
