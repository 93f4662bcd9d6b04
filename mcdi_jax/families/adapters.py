"""Adapters: scale and shift of every normalisation of a trained encoder (FiLM, Perez et al.
2018), generated from a support, and the classifier on the features that they make."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.families.few_shot_images import FewShotImages
from mcdi_jax.families.inside import Inside
from mcdi_jax.networks import Architecture, Network, Params, backbone
from mcdi_jax.networks.normalised import modulated, renormalised, unmodulated
from mcdi_jax.tasks import Support
from mcdi_jax.weights import Cut

_TOKEN = 128  # weights of a norm in one token


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapters(Inside, FewShotImages):
  """Params are `{"film": …, "head": {kernel [D, N], bias [N]}}`. Of each normalisation
  `film` has a `gain` and a `bias` [c], differences from the encoder's own: the gain in
  units of it.

  Attributes:
    network, widths: of the encoder.
    statistics: share of the support's own statistics in the encoder that the condition is
      of, and in the base `renormalised`; the rest is the encoder's.
  """

  network: Literal["conv4", "resnet12"] = "resnet12"
  widths: tuple[int, ...] = (16, 32, 64, 128)
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

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    return self.encoder.init(key)

  def features(
    self, frozen: Params, params: Params, x: Float[Array, "n h w c"]
  ) -> Float[Array, "n D"]:
    """Of the encoder with these scales and shifts; its statistics stay."""
    network = frozen["network"]
    own = {**network, "weights": modulated(network["weights"], params["film"])}
    return self.encoder.apply({**frozen, "network": own}, x)

  def unchanged(self, frozen: Params) -> Params:
    return {"film": unmodulated(frozen["network"]["weights"])}

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
