"""Linear heads on the features of a frozen backbone: few-shot classification of images."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.families.few_shot_images import FewShotImages
from mcdi_jax.networks import (
  Architecture,
  Network,
  Params,
  architecture,
  backbone,
  head,
  prototype_head,
  ridge_head,
)
from mcdi_jax.networks.backbones import Kind
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Support, class_means, membership
from mcdi_jax.weights import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads(FewShotImages):
  """The head's weights are generated.

  Attributes:
    network: the backbone under the head.
    width: of a conv-4.
    widths: of a ResNet-12.
    unit_length: whether features are divided by their length.
  """

  network: Kind = "conv4"
  width: int = 64
  widths: tuple[int, ...] = (16, 32, 64, 128)
  unit_length: bool = False
  name: ClassVar[str] = "heads"
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "prototypes", "ridge")
  layers: ClassVar[tuple[Layer, ...]] = (Layer("head/kernel", "head/bias"),)

  @property
  def architecture(self) -> Architecture:
    return architecture(self.network, self.width, self.widths)

  @property
  def backbone(self) -> Network:
    chosen = self.architecture
    return backbone(chosen, self.image_shape, unit_length=self.unit_length)

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    return self.backbone.init(key)

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """Gaussian of this scale."""
    del frozen
    return head(x.shape[-1], ways, scale=scale).init(key)

  def embed(self, frozen: Params, x: Float[Array, "n h w c"]) -> Float[Array, "n D"]:
    """Features of mean squared norm 1 over the training images."""
    return self.backbone.apply(frozen, x)

  def apply(
    self, frozen: Params, params: Params, x: Float[Array, "n D"]
  ) -> Float[Array, "n N"]:
    del frozen
    return apply_head(params, x)

  def layer_inputs(self, frozen: Params, support: Support) -> tuple[Array, ...]:
    del frozen
    return (support.x[:, None],)

  def merge(self, frozen: Params, params: Params) -> Params:
    return {"backbone": frozen, **params}

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features in coordinates of rms 1, as the tokens have, and `membership`."""
    member = membership(support, ways)
    x = jnp.where(member.any(1)[:, None], support.x, 0.0)  # the rest may hold anything
    return (x * x.shape[-1] ** 0.5, member), member.any(0)

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """Also `prototypes`, the prototype head, and `ridge`, the ridge head with λ = 1, where
    features have mean squared norm 1."""
    if name in ("prototypes", "ridge"):
      member = membership(support, ways)
      x = jnp.where(member.any(1)[:, None], support.x, 0.0)  # the rest may hold anything
      if name == "ridge":
        return ridge_head(x, member, 1.0)
      return prototype_head(class_means(member, x))
    return super().base(frozen, name, support, ways)

  def perturb(
    self, key: Key[Array, ""], x: Float[Array, "n D"], amount: float
  ) -> Float[Array, "n D"]:
    return x + amount * x.shape[-1] ** -0.5 * jax.random.normal(key, x.shape)


def spec_with_heads(spec: dict[str, Any]) -> dict[str, Any]:
  """The description of a generator from before there were families, in today's form."""
  family = {"name": Heads.name, "ways": (5,), "shots": (1,), **spec}
  family["width"] = family.pop("backbone_width")
  names = [field.name for field in dataclasses.fields(Heads)]
  kept = {name: family[name] for name in ("name", *names)}
  rest = set(spec) - set(kept) - {"backbone_width"}
  return {**{name: spec[name] for name in spec if name in rest}, "family": kept}
