"""Models made of models: see `mcdi_jax.generator.compose`."""

from mcdi_jax.generator.compose import ensemble, guide, iterate, refine

__all__ = ["ensemble", "guide", "iterate", "refine"]
