"""A method on features whose mean over many unlabelled items is taken off before."""

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, Key

from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.tasks import Support


def unlabelled_centre(method: Method, origin: Float[Array, " D"]) -> Method:
  """The same method, called `NAME_unlabelled`, with `origin` [D] taken off support and
  queries: the mean of a target's items, whose labels it does not need."""
  adapt, predict = _functions(method.adapt, method.predict)
  name = f"{method.name}_unlabelled"
  given = (method.variables, origin)
  return Method(name, adapt, predict, given, method.settings, transductive=True)


def tunable_about(tunable: Tunable, origin: Float[Array, " D"]) -> Tunable:
  """The same for a method on features whose settings are chosen; the source's mean is no
  choice then."""
  space = {**tunable.space, "centre": ("none", "support")}

  def make(settings: dict[str, Any], known: Any) -> Method:
    return unlabelled_centre(tunable.make(settings, known), origin)

  return Tunable(f"{tunable.name}_unlabelled", make, space)


@functools.cache
def _functions(adapt: Callable[..., Any], predict: Callable[..., Any]) -> Any:
  def adapt_centred(
    variables: tuple[Any, Array], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    own, origin = variables
    return adapt(own, support._replace(x=support.x - origin), key, ways)

  def predict_centred(variables: tuple[Any, Array], adapted: Any, x: Array) -> Array:
    own, origin = variables
    return predict(own, adapted, x - origin)

  return adapt_centred, predict_centred
