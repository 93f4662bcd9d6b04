"""Adapters: scale and shift of every normalisation of a trained encoder (FiLM, Perez et al.
2018), generated from a support, and the classifier on the features that they make."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.data.class_set import to_unit
from mcdi_jax.families.features import Features
from mcdi_jax.families.few_shot_images import FewShotImages
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Architecture, Network, Params, backbone, head
from mcdi_jax.networks.normalised import modulated, renormalised, unmodulated
from mcdi_jax.tasks import Support
from mcdi_jax.weights import Cut

_TOKEN = 128  # weights of a norm in one token


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapters(FewShotImages):
  """Params are `{"film": …, "head": {kernel [D, N], bias [N]}}`. Of each normalisation
  `film` has a `gain` and a `bias` [c], differences from the encoder's own: the gain in
  units of it. The head is a difference from the one that the adapted features of the
  support make in closed form. So θ_0, all zeros, is the encoder as it is with that head.
  When settled there is also `"settled"`, a head of `Features` with its centre and spread.

  Attributes:
    network, widths: of the encoder.
    closed_form: of the head: `prototypes`, `ridge` or `ridge_loo`.
    statistics: share of the support's own statistics in the encoder that the condition is
      of, and in the base `renormalised`; the rest is the encoder's.
  """

  network: Literal["conv4", "resnet12"] = "resnet12"
  widths: tuple[int, ...] = (16, 32, 64, 128)
  closed_form: Literal["prototypes", "ridge", "ridge_loo"] = "prototypes"
  statistics: float = 0.0
  name: ClassVar[str] = "adapters"
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "renormalised")
  one_by_one: ClassVar[bool] = True
  cuts: ClassVar[dict[str, Cut]] = {
    **FewShotImages.cuts,
    "film/*": Cut("chunks", size=_TOKEN),
  }

  @property
  def architecture(self) -> Architecture:
    return Architecture(self.network, self.widths)

  @property
  def encoder(self) -> Network:
    return backbone(self.architecture, self.image_shape)

  @property
  def heads(self) -> Features:
    """What is known of heads on features, theirs being standardised by the support."""
    return Features(width=1, ways=self.ways, shots=self.shots)

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    return self.encoder.init(key)

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """Gaussian of this scale."""
    weights = frozen["network"]["weights"]
    width = frozen["mean"].shape[0]
    zeros = {"film": unmodulated(weights), **head(width, ways).init(key)}
    leaves, tree = jax.tree.flatten(zeros)
    keys = jax.random.split(key, len(leaves))
    drawn = [
      scale * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)

  def features(
    self, frozen: Params, film: Params, x: Float[Array, "n h w c"]
  ) -> Float[Array, "n D"]:
    """Of the encoder with these scales and shifts; its statistics stay."""
    network = frozen["network"]
    own = {**network, "weights": modulated(network["weights"], film)}
    return self.encoder.apply({**frozen, "network": own}, x)

  def apply(
    self, frozen: Params, params: Params, x: Float[Array, "n h w c"]
  ) -> Float[Array, "n N"]:
    if "settled" not in params:
      raise InputError(
        "params have no classifier: settle them on a support, as generate and "
        "family.settled(frozen, params, support) do"
      )
    found = self.features(frozen, params["film"], x)
    return self.heads.apply({}, params["settled"], found)

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    on = self._on_features(frozen, params, support)
    return {**params, "settled": self._head(params, on, self.closed_form)}

  def fitted(self, frozen: Params, params: Params, support: Support) -> Float[Array, "n N"]:
    """Under the head of the support's prototypes, whatever the closed form, as Li et al.
    (2022) adapt to few items. A ridge head fits its own support however it is adapted, and
    says less of how well classes lie apart."""
    on = self._on_features(frozen, params, support)
    return self.heads.apply({}, self._head(params, on, "prototypes"), on.x)

  def renormalised(self, frozen: Params, support: Support, share: Any) -> Params:
    """Scales and shifts with which the encoder normalises with so large a share of the
    support's own statistics, from 0 to 1 (Li et al. 2017, AdaBN, has 1)."""
    _, own = self._mixed(frozen, support, share)
    return self._away(frozen, own, share)

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """Also `renormalised`, by the share of `statistics`; its head is the closed form."""
    if name != "renormalised":
      return super().base(frozen, name, support, ways)
    zeros = self.init(frozen, jax.random.key(0), support.x, ways)
    film = self.renormalised(frozen, support, self.statistics)
    return {**zeros, "film": film}

  def facts(self, frozen: Params, support: Support, ways: int) -> Params:
    """How far the support's statistics are from the encoder's, in the form of scales and
    shifts that would take away half of it; of the head nothing. They are met on the way to
    the features that `condition` has, so that both are one pass."""
    zeros = self.init(frozen, jax.random.key(0), support.x, ways)
    _, own = self._mixed(frozen, support, self.statistics)
    return {**zeros, "film": self._away(frozen, own, 0.5)}

  def _mixed(
    self, frozen: Params, support: Support, share: Any
  ) -> tuple[Float[Array, "n D"], Params]:
    """Features before they are standardised, with such a share of the support's statistics
    all the way, and these statistics."""
    network = frozen["network"]
    bare = self.architecture.of_images(self.image_shape)
    given = (network["weights"], network["statistics"])
    return bare.apply_mixed(*given, support.x, share, support.mask)

  def _away(self, frozen: Params, own: Params, share: Any) -> Params:
    network = frozen["network"]
    return renormalised(network["weights"], network["statistics"], own, share)

  def _on_features(self, frozen: Params, params: Params, support: Support) -> Support:
    x, _, mask = support
    x = x if mask is None else jnp.where(mask[:, None, None, None], x, 0.0)
    return support._replace(x=self.features(frozen, params["film"], x))

  def _head(self, params: Params, support: Support, closed_form: str) -> Params:
    """In closed form, and what is added to it; settled. support.x are features."""
    added = params["head"]
    base = self.heads.base({}, closed_form, support, added["bias"].shape[-1])
    both = jax.tree.map(jnp.add, base, {"head": added})
    return self.heads.settled({}, both, support)

  def merge(self, frozen: Params, params: Params) -> Params:
    """The encoder's params as adapted, and the rest as it is."""
    network = frozen["network"]
    own = {**network, "weights": modulated(network["weights"], params["film"])}
    return {"backbone": {**frozen, "network": own}, **params}

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features of the encoder with its share of the support's `statistics`, standardised,
    and `membership`."""
    x, _ = self._mixed(frozen, support, self.statistics)
    on = support._replace(x=(x - frozen["mean"]) / frozen["scale"])
    return self.heads.condition({}, on, ways)


def embedded(family: Adapters, frozen: Params, items: Any) -> Any:
  """A `ClassSet` of images as one of the encoder's features [n, D]."""
  return items._replace(x=_all_features(family, frozen, items.x))


def plain_features(
  family: Adapters, frozen: Params, x: Float[Array, "n h w c"]
) -> Float[Array, "n D"]:
  """Of the encoder as it is."""
  return family.features(frozen, unmodulated(frozen["network"]["weights"]), x)


@functools.partial(jax.jit, static_argnums=0)
def _all_features(family: Adapters, frozen: Params, x: Array) -> Array:
  one = lambda image: plain_features(family, frozen, to_unit(image)[None])[0]  # noqa: E731
  return jax.lax.map(one, x, batch_size=16)
