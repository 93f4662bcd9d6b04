"""Whole classifiers: all weights of a conv-4 and its head, the paper's few-shot setting."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.families.few_shot_images import FewShotImages
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params, head, unit_prototype_head
from mcdi_jax.networks.conv4 import (
  BLOCKS,
  apply_blocks,
  apply_with_own_statistics,
  block_inputs,
  init_blocks,
)
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Support, class_means, membership
from mcdi_jax.weights import Cut, Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks(FewShotImages):
  """Params are `{"blocks": {"0": {kernel, gain, bias}, …}, "head": {kernel, bias}}`; when
  settled also `"statistics"`, those of the support in each block, with which queries are
  normalised: non-transductive. θ_0 has a head of zeros, as classes are a set.

  Attributes:
    width: channels of each block.
  """

  width: int = 32
  name: ClassVar[str] = "networks"
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "prototypes")
  one_by_one: ClassVar[bool] = True
  cuts: ClassVar[dict[str, Cut]] = {
    **FewShotImages.cuts,
    "blocks/0/kernel": Cut("chunks", size=288),
    "blocks/*/kernel": Cut("rows", 3),
    "blocks/*": Cut("chunks", size=288),
  }
  layers: ClassVar[tuple[Layer, ...]] = (
    *(Layer(f"blocks/{n}/kernel") for n in range(BLOCKS)),
    Layer("head/kernel", "head/bias"),
  )

  def fresh(self, key: Key[Array, ""]) -> Params:
    """Of the blocks."""
    blocks = init_blocks(key, self.image_shape[-1], self.width)
    return {"blocks": {str(n): block for n, block in enumerate(blocks)}}

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    blocks = super().init(frozen, key, x, ways, scale=scale)
    return {**blocks, **head(self.features, ways).init(key)}

  @property
  def features(self) -> int:
    """Their number, of an image."""
    height, width, _ = self.image_shape
    return (height // 2**BLOCKS) * (width // 2**BLOCKS) * self.width

  def apply(self, frozen: Params, params: Params, x: Array) -> Float[Array, "n N"]:
    if "statistics" not in params:
      raise InputError(
        "params have no statistics of normalisation: settle them on a support, as generate "
        "and family.settled(frozen, params, support) do"
      )
    statistics = _in_order(params["statistics"])
    return apply_head(params, apply_blocks(_blocks(params), statistics, x))

  def fitted(self, frozen: Params, params: Params, support: Support) -> Float[Array, "n N"]:
    x, _, mask = support
    return apply_head(params, apply_with_own_statistics(_blocks(params), x, mask)[0])

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    blocks = _blocks(params)
    _, seen = apply_with_own_statistics(blocks, support.x, support.mask)
    return {**params, "statistics": {str(n): s for n, s in enumerate(seen)}}

  def layer_inputs(self, frozen: Params, support: Support) -> tuple[Array, ...]:
    patches = block_inputs(_blocks(frozen["init"]), support.x, support.mask)
    return (*patches, self._features(frozen, support)[:, None])

  def merge(self, frozen: Params, params: Params) -> Params:
    return params

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features under θ_0 in coordinates of rms 1 over the support, and `membership`."""
    member = membership(support, ways)
    counts = member.any(1)
    x = jnp.where(counts[:, None], self._features(frozen, support), 0.0)
    square = jnp.sum(x**2) / jnp.maximum(counts.sum() * x.shape[-1], 1)
    return (x * jax.lax.rsqrt(square + 1e-12), member), member.any(0)

  def _features(self, frozen: Params, support: Support) -> Float[Array, "n D"]:
    """Under θ_0."""
    blocks = _blocks(frozen["init"])
    return apply_with_own_statistics(blocks, support.x, support.mask)[0]

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """Also `prototypes`: θ_0 with the prototype head of its features, whose logits are of
    unit size."""
    if name != "prototypes":
      return super().base(frozen, name, support, ways)
    member = membership(support, ways)
    means = class_means(member, self._features(frozen, support))
    return {**frozen["init"], **unit_prototype_head(means, member.any(0))}

  def gradient_at(self, frozen: Params, support: Support, ways: int) -> Params:
    """θ_0 with prototypes: under a head of zeros the blocks have no gradient."""
    at = self.base(frozen, "prototypes", support, ways)
    return jax.lax.stop_gradient(at)


def _in_order(by_number: Params) -> list[Params]:
  return [by_number[str(n)] for n in range(BLOCKS)]


def _blocks(params: Params) -> list[Params]:
  return _in_order(params["blocks"])
