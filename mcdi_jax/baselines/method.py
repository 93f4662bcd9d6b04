"""The interface: a support of features in, the params of a head out."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Method(NamedTuple):
  """A way to adapt the head to a task; it sees the support and nothing else of it.

  Attributes:
    name: as in results.
    adapt: `adapt(variables, support, key, ways) → params`, pure; support.x [N·K, D].
    variables: what the method has learned before (a pytree), or ().
    settings: what distinguishes it, for results.
  """

  name: str
  adapt: Callable[..., Any]
  variables: Any
  settings: dict[str, Any]
