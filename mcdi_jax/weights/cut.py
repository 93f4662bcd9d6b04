"""How a leaf becomes rows of weights, and rows a leaf."""

import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Cut(NamedTuple):
  """How a leaf becomes rows of weights.

  Attributes:
    kind: `classes`: a row for each class, a part of that class's token; the number of
      classes is no part of the specification. `rows`: a token for each place on an axis.
      `chunks`: the leaf as one line, cut into tokens of a size, the last one shorter.
    axis: of `classes` and `rows`.
    size: of `chunks`: weights a token.
  """

  kind: Literal["classes", "rows", "chunks"]
  axis: int = 0
  size: int = 0


class LeafSpec(NamedTuple):
  """One generated leaf.

  Attributes:
    path: its place in the params, such as `head/kernel`.
    cut: into rows.
    shape: of the leaf; of a leaf of classes, without their axis.
    dtype: of the leaf in the params that the space was made for.
  """

  path: str
  cut: Cut
  shape: tuple[int, ...]
  dtype: str

  @property
  def rows(self) -> int:
    """Tokens of its own."""
    if self.cut.kind == "rows":
      return self.shape[self.cut.axis]
    return 0 if self.of_classes else -(-math.prod(self.shape) // self.cut.size)

  @property
  def width(self) -> int:
    """Weights a row."""
    if self.cut.kind == "chunks":
      return self.cut.size
    return math.prod(self.shape) // (self.rows if self.cut.kind == "rows" else 1)

  @property
  def of_classes(self) -> bool:
    return self.cut.kind == "classes"

  def to_rows(self, leaf: Array) -> Float[Array, "r w"]:
    if self.cut.kind == "chunks":
      line = leaf.reshape(-1)
      return jnp.pad(line, (0, self.rows * self.width - line.size)).reshape(-1, self.width)
    return jnp.moveaxis(leaf, self.cut.axis, 0).reshape(leaf.shape[self.cut.axis], -1)

  def from_rows(self, rows: Float[Array, "r w"]) -> Array:
    if self.cut.kind == "chunks":
      return rows.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)
    others = [n for a, n in enumerate(self.shape) if self.of_classes or a != self.cut.axis]
    return jnp.moveaxis(rows.reshape(-1, *others), 0, self.cut.axis)
