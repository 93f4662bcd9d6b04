"""What a generator knows of a support, computed once a task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mcdi_jax.generator.resolvents import Resolvents


class Given(NamedTuple):
  """What a support says to any score network of a specification, whatever its params.

  Attributes:
    inputs: of its `encode`.
    base, present: as in `Condition`.
  """

  inputs: Any
  base: Any
  present: Any


class Condition(NamedTuple):
  """Everything of a task that its weights are generated from.

  Attributes:
    context: of the score network.
    base: the params that tokens are a difference from; None if they are the params.
    present: bool [N]; the classes that have an item in the support. The others only fill
      up the arrays: no noise, no part in attention, means and gauge, logits −∞.
  """

  context: Any
  base: Any
  present: Any

  def dropped(self, drop: Any = True) -> "Condition":
    """Where `drop`, a bool, the same task without what the score network knows of it: a
    context of zeros, for classifier-free guidance (Ho & Salimans 2022)."""
    away = lambda leaf: jnp.where(drop, jnp.zeros_like(leaf), leaf)  # noqa: E731

    def without(leaf: Any) -> Any:
      if isinstance(leaf, Resolvents):  # with its penalties, of which 0 / 0 were made
        return jax.tree.map(away, leaf)._replace(penalties=leaf.penalties)
      return away(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    whole = lambda leaf: isinstance(leaf, Resolvents)  # noqa: E731
    return self._replace(context=jax.tree.map(without, self.context, is_leaf=whole))
