"""Weights inside a trained encoder, and the classifier on the features that they make."""

import abc
import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from mcdi_jax.data.class_set import to_unit
from mcdi_jax.families.features import Features
from mcdi_jax.families.few_shot import FewShot
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params, head
from mcdi_jax.tasks import Support


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inside(FewShot):
  """Params are those inside the encoder and `"head"` {kernel [D, N], bias [N]}. The head is
  a difference from the one that the adapted features of the support make in closed form. So
  θ_0, all zeros, is the encoder as it is with that head. When settled there is also
  `"settled"`, a head of `Features` with its centre and spread. `frozen` has, beside the
  encoder, what its features are standardised with: `mean` [D] and `scale` [].

  Attributes:
    closed_form: of the head: `prototypes`, `ridge` or `ridge_loo`.
  """

  closed_form: Literal["prototypes", "ridge", "ridge_loo"] = "prototypes"

  @abc.abstractmethod
  def features(
    self, frozen: Params, params: Params, x: Shaped[Array, "n ..."]
  ) -> Float[Array, "n D"]:
    """Of the encoder with these params inside."""
    raise NotImplementedError

  @abc.abstractmethod
  def unchanged(self, frozen: Params) -> Params:
    """The params inside that leave the encoder as it is."""
    raise NotImplementedError

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """Gaussian of this scale."""
    width = frozen["mean"].shape[0]
    zeros = {**self.unchanged(frozen), **head(width, ways).init(key)}
    leaves, tree = jax.tree.flatten(zeros)
    keys = jax.random.split(key, len(leaves))
    drawn = [
      scale * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)

  @property
  def heads(self) -> Features:
    """What is known of heads on features, theirs being standardised by the support."""
    return Features(width=1, ways=self.ways, shots=self.shots)

  def apply(
    self, frozen: Params, params: Params, x: Shaped[Array, "n ..."]
  ) -> Float[Array, "n N"]:
    if "settled" not in params:
      raise InputError(
        "params have no classifier: settle them on a support, as generate and "
        "family.settled(frozen, params, support) do"
      )
    return self.heads.apply({}, params["settled"], self.features(frozen, params, x))

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    on = self.on_features(frozen, params, support)
    return {**params, "settled": self._head(params, on, self.closed_form)}

  def fitted(self, frozen: Params, params: Params, support: Support) -> Float[Array, "n N"]:
    """Under the head of the support's prototypes, whatever the closed form, as Li et al.
    (2022) adapt to few items. A ridge head fits its own support however it is adapted, and
    says less of how well classes lie apart."""
    on = self.on_features(frozen, params, support)
    return self.heads.apply({}, self._head(params, on, "prototypes"), on.x)

  def on_features(self, frozen: Params, params: Params, support: Support) -> Support:
    """The support with features for its items, of which those that do not count may hold
    anything."""
    x, _, mask = support
    if mask is not None:
      x = jnp.where(mask.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x))
    return support._replace(x=self.features(frozen, params, x))

  def _head(self, params: Params, support: Support, closed_form: str) -> Params:
    """In closed form, and what is added to it; settled. support.x are features."""
    added = params["head"]
    base = self.heads.base({}, closed_form, support, added["bias"].shape[-1])
    both = jax.tree.map(jnp.add, base, {"head": added})
    return self.heads.settled({}, both, support)


def plain_features(
  family: Inside, frozen: Params, x: Shaped[Array, "n ..."]
) -> Float[Array, "n D"]:
  """Of the encoder as it is."""
  return family.features(frozen, family.unchanged(frozen), x)


def embedded(family: Inside, frozen: Params, items: Any) -> Any:
  """A `ClassSet` as one of the encoder's features [n, D]."""
  return items._replace(x=_all_features(family, frozen, items.x))


@functools.partial(jax.jit, static_argnums=0)
def _all_features(family: Inside, frozen: Params, x: Array) -> Array:
  one = lambda item: plain_features(family, frozen, to_unit(item)[None])[0]  # noqa: E731
  return jax.lax.map(one, x, batch_size=16)
