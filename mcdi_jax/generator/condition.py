"""The condition: what a generator knows of a support, computed once a task."""

from typing import Any, NamedTuple


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
