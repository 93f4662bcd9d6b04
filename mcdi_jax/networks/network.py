"""What a network is: two pure functions, and the pytree that they share."""

from collections.abc import Callable
from typing import Any, NamedTuple

Params = Any  # a pytree of arrays


class Network(NamedTuple):
  """A network whose weights are data.

  Attributes:
    init: `init(key) → params`.
    apply: `apply(params, x [n, ...]) → [n, outputs]`; nothing in it depends on the other
      items of the batch.
  """

  init: Callable[..., Any]
  apply: Callable[..., Any]
