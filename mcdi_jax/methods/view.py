"""How a method looks at features, and linear classifiers on what it sees.

Features come with a mean squared norm of 1 about their mean. On real encoders much depends
on what else is done to them, so that is a setting.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mcdi_jax.methods.space import Space
from mcdi_jax.networks import without_absent
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Support, membership

VIEWS: Space = {"centre": ("none", "source", "support"), "unit_length": (False, True)}


class Statistics(NamedTuple):
  """What is known of the features of the training classes, in the scale of the features
  that methods are given.

  Attributes:
    none, source: [D]; what is added to features for them to be as the encoder made them,
      and for their mean to be 0.
    within: for these two centres directions [D, D] (columns) and variances [D] within
      classes, of features divided by their length. None: not known.
  """

  none: Any
  source: Any
  within: dict[str, tuple[Any, Any]] | None = None


class View(NamedTuple):
  """Adds `shift` [D]; where `unit_length` (bool []), divides by the length then."""

  shift: Any
  unit_length: Any

  def __call__(self, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    x = x + self.shift
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jnp.where(self.unit_length, x / jnp.maximum(length, 1e-8), x)


class Seen(NamedTuple):
  """A support through a view.

  Attributes:
    view: the same for the queries.
    x: [n, D]; 0 where an item does not count.
    member: [n, N] as `membership`.
  """

  view: View
  x: Float[Array, "n D"]
  member: Float[Array, "n N"]

  @property
  def present(self) -> Bool[Array, " N"]:
    return self.member.any(0)


def view_variables(settings: dict[str, Any], known: Statistics) -> dict[str, Any]:
  """For `see`, of `centre` and `unit_length`: arrays, so that settings share what is
  compiled. `none` leaves features as the encoder made them, up to a factor; `source` takes
  the training mean off; `support` the support's own."""
  centre = settings["centre"]
  return {
    "shift": known.none if centre == "none" else known.source,
    "by_support": jnp.asarray(centre == "support"),
    "unit_length": jnp.asarray(settings["unit_length"]),
  }


def see(variables: dict[str, Any], support: Support, ways: int) -> Seen:
  member = membership(support, ways)
  counts = member.sum(1)
  x = jnp.where(counts[:, None] > 0, support.x, 0.0)
  own = counts @ x / jnp.maximum(counts.sum(), 1)
  shift = jnp.where(variables["by_support"], -own, variables["shift"])
  view = View(shift, variables["unit_length"])
  return Seen(view, counts[:, None] * view(x), member)


class Linear(NamedTuple):
  """A linear classifier on a view of the features."""

  params: Any
  view: View


def linear(params: Any, seen: Seen) -> Linear:
  """The classifier with these params on what is seen; −∞ for classes without an item."""
  return Linear(without_absent(params, seen.present), seen.view)


def predict(variables: Any, adapted: Linear, x: Float[Array, "m D"]) -> Float[Array, "m N"]:
  del variables
  return apply_head(adapted.params, adapted.view(x))


def cross_entropy(params: Any, seen: Seen) -> Float[Array, ""]:
  """Mean over the items that count, among the classes that have one."""
  logits = jnp.where(seen.present, apply_head(params, seen.x), -1e9)
  losses = optax.softmax_cross_entropy(logits, seen.member)
  return losses.sum() / jnp.maximum(seen.member.sum(), 1)


def zero_head(seen: Seen) -> dict[str, Any]:
  width, ways = seen.x.shape[1], seen.member.shape[1]
  return {"head": {"kernel": jnp.zeros((width, ways)), "bias": jnp.zeros(ways)}}
