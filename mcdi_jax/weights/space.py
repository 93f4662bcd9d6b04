"""The space that the diffusion lives in (`method.md` 3.6).

The order of the transform is: delta to a base (if any) → class gauge → scale. Its result
is one token a class: row c holds, leaf after leaf, all the weights that belong to class c.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Bool, Float

from mcdi_jax.networks import Params


class LeafSpec(NamedTuple):
  """One generated leaf.

  Attributes:
    path: its place in the params, such as `head/kernel`.
    class_axis: the axis that runs over the classes; its size is the number of ways, and
      is no part of the specification.
    shape: the other axes.
    dtype: of the leaf in the params that the space was made for.
  """

  path: str
  class_axis: int
  shape: tuple[int, ...]
  dtype: str

  @property
  def size(self) -> int:
    """Weights a class."""
    return math.prod(self.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightSpace:
  """A specification, which is static, and statistics, which are leaves.

  Attributes:
    scale: float32 [leaves], one positive number a leaf: no mean and nothing a coordinate,
      or rotations of the feature space would no longer be symmetries.
    leaves: in the order of the token's columns.
    gauge: whether the mean over classes is removed. Adding one vector to all class rows
      changes no prediction, so this keeps one of many equal classifiers.
  """

  scale: Any
  leaves: tuple[LeafSpec, ...] = dataclasses.field(metadata={"static": True})
  gauge: bool = dataclasses.field(metadata={"static": True}, default=True)

  @property
  def width(self) -> int:
    """Columns of a token."""
    return sum(leaf.size for leaf in self.leaves)

  def project(
    self, tokens: Float[Array, "*b N W"], present: Bool[Array, "*b N"] | None = None
  ) -> Float[Array, "*b N W"]:
    """Onto the gauge: the mean over classes is removed (the identity without a gauge).

    Args:
      present: the classes of the task; the tokens of others, which only fill up the
        array, become 0. None: all.
    """
    if present is None:
      return tokens - tokens.mean(-2, keepdims=True) if self.gauge else tokens
    there = present[..., None]
    if self.gauge:
      tokens = tokens - tokens.mean(-2, keepdims=True, where=there)
    return jnp.where(there, tokens, 0.0)

  def free_classes(self, ways: Any) -> Any:
    """Degrees of freedom along the class axis: losses average over these."""
    return ways - 1 if self.gauge else ways

  def encode(
    self,
    params: Params,
    base: Params | None = None,
    present: Bool[Array, " N"] | None = None,
  ) -> Float[Array, "N W"]:
    """Params (the generated leaves) to tokens, float32 or wider; with a base, their
    difference from it."""
    tokens = self._flatten(params)
    if base is not None:
      tokens = tokens - self._flatten(base)
    return self.project(tokens, present) / self._column_scale(tokens.dtype)

  def decode(self, tokens: Float[Array, "N W"], base: Params | None = None) -> Params:
    """Tokens to params, each leaf in its own dtype. encode(decode(z)) = z in the gauge,
    and decode(encode(p)) = p up to it: equal logits minus their mean over classes."""
    rows = tokens * self._column_scale(tokens.dtype)
    if base is not None:
      rows = rows + self._flatten(base)
    params, start = {}, 0
    for leaf in self.leaves:
      part = rows[:, start : start + leaf.size].reshape(-1, *leaf.shape)
      params[leaf.path] = jnp.moveaxis(part, 0, leaf.class_axis).astype(leaf.dtype)
      start += leaf.size
    return traverse_util.unflatten_dict(params, sep="/")

  def _flatten(self, params: Params) -> Float[Array, "N W"]:
    flat = traverse_util.flatten_dict(params, sep="/")
    rows = [jnp.moveaxis(flat[leaf.path], leaf.class_axis, 0) for leaf in self.leaves]
    tokens = jnp.concatenate([r.reshape(r.shape[0], -1) for r in rows], axis=1)
    return tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))

  def _column_scale(self, dtype: Any) -> Float[Array, " W"]:
    sizes = [leaf.size for leaf in self.leaves]
    scale = jnp.asarray(self.scale, dtype)
    return jnp.concatenate(
      [jnp.broadcast_to(s, (n,)) for s, n in zip(scale, sizes, strict=True)]
    )

  def leaf_rms(
    self, tokens: Float[Array, "*b N W"], present: Bool[Array, "*b N"] | None = None
  ) -> Float[Array, " leaves"]:
    """Root mean square of each leaf's columns, over the free classes of all tasks *b."""
    there = jnp.ones(tokens.shape[:-1], bool) if present is None else present
    free = self.free_classes(there.sum(-1)).sum()
    axes = tuple(range(tokens.ndim - 1))
    square = jnp.sum(tokens**2, axis=axes, where=there[..., None]) / free
    sizes = [leaf.size for leaf in self.leaves]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = [square[a : a + n].mean() for a, n in zip(starts, sizes, strict=True)]
    return jnp.sqrt(jnp.stack(parts))


def weight_space(
  params: Params, class_axes: dict[str, int], *, gauge: bool = True
) -> WeightSpace:
  """The space of the leaves named in `class_axes` (path → class axis), with scale 1."""
  flat = traverse_util.flatten_dict(params, sep="/")
  leaves = []
  for path, axis in class_axes.items():
    shape = list(flat[path].shape)
    del shape[axis]
    leaves.append(LeafSpec(path, axis, tuple(shape), str(flat[path].dtype)))
  return WeightSpace(jnp.ones(len(leaves)), tuple(leaves), gauge)
