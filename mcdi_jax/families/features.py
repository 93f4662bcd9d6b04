"""Linear heads on features of an encoder of the user's: any encoder, of any width."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.families.few_shot import FewShot
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import (
  Params,
  head,
  prototype_head,
  ridge_head,
  ridge_head_loo,
)
from mcdi_jax.tasks import Support, class_means, membership

_SLOW = 16.0  # what biases are divided by: so one rate suits them and kernels
_SHARP = {"prototypes": 20.0, "ridge": 5.0, "ridge_loo": 5.0}
"""What makes a base's logits about as large as those of heads that are trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(FewShot):
  """The head's weights are generated; the items are features [n, D].

  Features are standardised within a task, by its support: centred, then of length 1. So
  nothing is kept of an encoder, and a generator takes features of any. The head's kernel
  is divided by √D where it is applied, so that its size does not depend on D.

  Attributes:
    width: D of the features that it was trained on.
    centre: what is taken off: the mean of the support's class means, or nothing, as where
      the features' own mean has been taken off before, of many without labels.
    unit_length: whether features are divided by their length.
  """

  width: int
  centre: Literal["support", "none"] = "support"
  unit_length: bool = True
  name: ClassVar[str] = "features"
  one_by_one: ClassVar[bool] = True  # for the bases and operators, which LAPACK makes
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "prototypes", "ridge", "ridge_loo")

  @property
  def item_shape(self) -> tuple[int, ...]:
    return (self.width,)

  def of_items(self, shape: tuple[int, ...]) -> "Features":
    return dataclasses.replace(self, width=shape[-1])

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """There is nothing that all tasks share."""
    return {}

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """Gaussian of this scale."""
    del frozen
    return head(x.shape[-1], ways, scale=scale).init(key)

  def standardised(
    self, x: Float[Array, "n D"], centre: Float[Array, " D"] | None
  ) -> Float[Array, "n D"]:
    """What is standardised times √D: coordinates of rms 1 where the length is 1."""
    if self.centre == "support":
      x = x - centre
    if not self.unit_length:
      return x * x.shape[-1] ** 0.5
    square = jnp.mean(x**2, -1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

  def apply(
    self, frozen: Params, params: Params, x: Float[Array, "n D"]
  ) -> Float[Array, "n N"]:
    """The params are settled."""
    del frozen
    width = params["head"]["kernel"].shape[0]
    if x.shape[-1] != width:
      raise InputError(
        f"x has {x.shape[-1]} features an item, the support had {width}: embed both by one "
        "encoder"
      )
    if self.centre == "support" and "centre" not in params:
      raise InputError(
        "params have no centre: settle them on a support, as generate and "
        "family.settled(frozen, params, support) do"
      )
    return self._logits(params, self.standardised(x, params.get("centre")))

  def fitted(
    self, frozen: Params, params: Params, x: Array, mask: Bool[Array, " n"] | None = None
  ) -> Array:
    """Centred by the items' own mean, as labels are not known here; a support with as many
    items of each class has the same centre."""
    del frozen
    own = jnp.mean(x, 0, where=None if mask is None else mask[:, None])
    return self._logits(params, self.standardised(x, own))

  def _logits(self, params: Params, x: Float[Array, "n D"]) -> Float[Array, "n N"]:
    """x has coordinates of rms 1."""
    kernel, bias = params["head"]["kernel"], params["head"]["bias"]
    return x @ kernel / x.shape[-1] + bias / _SLOW

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    """With the centre [D]."""
    if self.centre == "none":
      return params
    member = membership(support, params["head"]["bias"].shape[-1])
    return {**params, "centre": self._centre(support.x, member)}

  def _centre(
    self, x: Float[Array, "n D"], member: Float[Array, "n N"]
  ) -> Float[Array, " D"]:
    present = member.any(0)
    return class_means(member, x).sum(0) / jnp.maximum(present.sum(), 1)

  def merge(self, frozen: Params, params: Params) -> Params:
    return params

  def _seen(
    self, support: Support, ways: int
  ) -> tuple[Float[Array, "n D"], Float[Array, "n N"]]:
    """Standardised items, 0 where one does not count, and `membership`."""
    member = membership(support, ways)
    counts = member.any(1)[:, None]
    x = jnp.where(counts, support.x, 0.0)  # the rest may hold anything
    return jnp.where(counts, self.standardised(x, self._centre(x, member)), 0.0), member

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features in coordinates of rms 1, as the tokens have, and `membership`."""
    x, member = self._seen(support, ways)
    return (x, member), member.any(0)

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """Also `prototypes`; `ridge`, with λ = 1 where lengths are 1; and `ridge_loo`, with the
    λ of the least leave-one-out error; all multiplied by a number (`_SHARP`)."""
    if name not in _SHARP:
      return super().base(frozen, name, support, ways)
    x, member = self._seen(support, ways)
    root = x.shape[-1] ** 0.5
    x = x / root
    if name == "prototypes":
      found = prototype_head(class_means(member, x))
    else:
      found = (ridge_head if name == "ridge" else ridge_head_loo)(x, member, 1.0)
    kernel, bias = (_SHARP[name] * found["head"][leaf] for leaf in ("kernel", "bias"))
    return {"head": {"kernel": kernel * root, "bias": bias * _SLOW}}

  def perturb(
    self, key: Key[Array, ""], x: Float[Array, "n D"], amount: float
  ) -> Float[Array, "n D"]:
    """In units of the rms coordinate about the items' mean."""
    spread = jnp.sqrt(jnp.mean((x - x.mean(0)) ** 2))
    return x + amount * spread * jax.random.normal(key, x.shape)

  def check_items(self, name: str, x: Any) -> None:
    if jnp.ndim(x) != 2 or jnp.shape(x)[1] < 2:
      raise InputError(f"{name} has shape {jnp.shape(x)}: give features [n, D]")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise InputError(f"{name} is {jnp.result_type(x)}: give floats")

  def check_values(self, x: np.ndarray) -> None:
    if not np.isfinite(x).all():
      raise InputError("support.x has NaN or infinite values: leave these items out")
