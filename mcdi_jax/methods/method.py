"""The interface: a support of embedded items in, a predictor for such items out."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcdi_jax.families import TaskFamily
from mcdi_jax.methods.space import Space
from mcdi_jax.networks import Params


class Known(NamedTuple):
  """What a method for any network knows of it: the family, which is static, and the frozen
  params."""

  family: TaskFamily
  frozen: Params


class Method(NamedTuple):
  """A way to adapt to a task; it sees the support and nothing else of it.

  Attributes:
    name: as in results.
    adapt: `adapt(variables, support, key, ways) → adapted`, pure: a pytree, such as the
      params of a head; support.x is embedded, [n, D] for heads, and classes may have any
      number of items.
    predict: `predict(variables, adapted, x [m, ...]) → outputs`, such as logits [m, N].
      Those of a class without an item are −∞.
    variables: what the method has learned before (a pytree), or ().
    settings: what distinguishes it, for results.
    transductive: whether it sees the items to label, without their labels.
  """

  name: str
  adapt: Callable[..., Any]
  predict: Callable[..., Any]
  variables: Any
  settings: dict[str, Any]
  transductive: bool = False


class Tunable(NamedTuple):
  """A method whose settings are chosen on validation tasks.

  Attributes:
    name: as in results.
    make: `make(settings, given) → Method`; the methods of one space share their `adapt`,
      so that they share its compilation. What is given is the same for all methods of a
      use: of those on features their `Statistics`; of those for any network what it is
      (`Known`).
    space: setting → its values.
  """

  name: str
  make: Callable[[dict[str, Any], Any], Method]
  space: Space
