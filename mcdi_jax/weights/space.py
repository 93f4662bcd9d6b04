"""The space that the diffusion lives in (`method.md` 3.6): any params as tokens.

The order of the transform is: delta to a base (if any) → preconditioning (if any) → class
gauge → scale. Its result is tokens [S, W]. The first N are one a class: row c holds, leaf
after leaf, all the weights that belong to class c. Those of the other leaves follow, leaf
after leaf and row after row. A token that is narrower than the widest is filled up with
zeros that mean nothing:
`mask` says which are weights.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.weights.cut import Cut, LeafSpec
from mcdi_jax.weights.layers import Layer, Roots, identity_roots, mixed
from mcdi_jax.weights.leaves import leaves_by_path, nested


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightSpace:
  """A specification, which is static, and statistics, which are leaves.

  Attributes:
    scale: float32 [leaves], one positive number a leaf: no mean and nothing a coordinate,
      or rotations of the feature space would no longer be symmetries.
    leaves: those of classes in the order of their token's columns, then the others.
    gauge: whether the mean over classes is removed from the tokens of classes. Adding one
      vector to all class rows changes no prediction, so this keeps one of many equal
      classifiers.
    roots: of each layer that is preconditioned; with none, tokens hold the weights.
    layers: which these are.
  """

  scale: Any
  leaves: tuple[LeafSpec, ...] = dataclasses.field(metadata={"static": True})
  gauge: bool = dataclasses.field(metadata={"static": True}, default=True)
  roots: tuple[Roots, ...] = ()
  layers: tuple[Layer, ...] = dataclasses.field(metadata={"static": True}, default=())

  @property
  def dual(self) -> "WeightSpace":
    """With scale 1, the space of gradients: where weights are multiplied by a root, what
    is descended along has been multiplied by its inverse."""
    roots = tuple(Roots(inverse, root) for root, inverse in self.roots)
    scale = jnp.ones_like(self.scale)
    return dataclasses.replace(self, scale=scale, roots=roots)

  @property
  def class_width(self) -> int:
    """Weights of a class; 0 if no leaf is one of classes."""
    return sum(leaf.width for leaf in self.leaves if leaf.of_classes)

  @property
  def width(self) -> int:
    """Columns of a token."""
    own = [leaf.width for leaf in self.leaves if not leaf.of_classes]
    return max(self.class_width, *own, 0)

  def rows(self, ways: int) -> int:
    """Tokens S of a task of so many classes."""
    classes = ways if self.class_width else 0
    return classes + sum(leaf.rows for leaf in self.leaves)

  def mask(self, ways: int) -> Bool[np.ndarray, "S W"]:
    """Which places of the tokens hold a weight."""
    widths = [self.class_width] * (ways if self.class_width else 0)
    for leaf in self.leaves:
      size = math.prod(leaf.shape)
      if not leaf.of_classes:
        widths += [min(leaf.width, size - r * leaf.width) for r in range(leaf.rows)]
    return np.arange(self.width) < np.array(widths, int)[:, None]

  def identity(self, ways: int) -> Int[np.ndarray, "S 2"]:
    """Leaf and row of each token: (0, 0) for all classes, which are a set; leaves count
    from 1."""
    found = [(0, 0)] * (ways if self.class_width else 0)
    own = [leaf for leaf in self.leaves if not leaf.of_classes]
    for number, leaf in enumerate(own, 1):
      found += [(number, row) for row in range(leaf.rows)]
    return np.array(found, np.int32).reshape(-1, 2)

  def weights(self, ways: int) -> int:
    """How many are generated for so many classes."""
    return int(self.mask(ways).sum())

  def free_weights(self, ways: Any) -> Any:
    """Degrees of freedom, which losses average over; ways may be traced."""
    own = sum(math.prod(leaf.shape) for leaf in self.leaves if not leaf.of_classes)
    return self.free_classes(ways) * self.class_width + own

  def free_classes(self, ways: Any) -> Any:
    """Degrees of freedom along the class axis."""
    return ways - 1 if self.gauge else ways

  def project(
    self, tokens: Float[Array, "*b S W"], present: Bool[Array, "*b N"] | None = None
  ) -> Float[Array, "*b S W"]:
    """Onto the gauge: the mean over classes is removed (the identity without a gauge), and
    what holds no weight becomes 0.

    Args:
      present: the classes of the task; the tokens of others, which only fill up the
        array, become 0. None: all.
    """
    ways = self.ways(tokens)
    if not ways:
      return jnp.where(self.mask(0), tokens, 0.0)
    if ways == tokens.shape[-2]:
      return self._project_classes(tokens, present)
    classes = self._project_classes(tokens[..., :ways, :], present)
    tokens = jnp.concatenate([classes, tokens[..., ways:, :]], -2)
    return jnp.where(self.mask(ways), tokens, 0.0)

  def _project_classes(
    self, tokens: Float[Array, "*b N W"], present: Bool[Array, "*b N"] | None
  ) -> Float[Array, "*b N W"]:
    if present is None:
      return tokens - tokens.mean(-2, keepdims=True) if self.gauge else tokens
    there = present[..., None]
    if self.gauge:
      tokens = tokens - tokens.mean(-2, keepdims=True, where=there)
    return jnp.where(there, tokens, 0.0)

  def encode(
    self,
    params: Params,
    base: Params | None = None,
    present: Bool[Array, " N"] | None = None,
  ) -> Float[Array, "S W"]:
    """Params (the generated leaves, or a tree that has them) to tokens, float32 or wider;
    with a base, their difference from it."""
    tokens = self._flatten(params)
    if base is not None:
      tokens = tokens - self._flatten(base)
    ways = self.ways(tokens)
    return self.project(tokens, present) / self._scales(ways, tokens.dtype)

  def decode(self, tokens: Float[Array, "S W"], base: Params | None = None) -> Params:
    """Tokens to params, nested dicts of the generated leaves, each in its own dtype.
    encode(decode(z)) = z in the gauge, and decode(encode(p)) = p up to it: equal logits
    minus their mean over classes."""
    ways = self.ways(tokens)
    tokens = tokens * self._scales(ways, tokens.dtype)
    if base is not None:
      tokens = tokens + self._flatten(base)
    found, column, row = {}, 0, ways
    for leaf in self.leaves:
      if leaf.of_classes:
        part = tokens[:ways, column : column + leaf.width]
        column += leaf.width
      else:
        part = tokens[row : row + leaf.rows, : leaf.width]
        row += leaf.rows
      found[leaf.path] = leaf.from_rows(part)
    if self.roots:
      inverses = [inverse for _, inverse in self.roots]
      found = leaves_by_path(mixed(found, self.layers, inverses))
    return nested({leaf.path: found[leaf.path].astype(leaf.dtype) for leaf in self.leaves})

  def ways(self, tokens: Float[Array, "*b S W"]) -> int:
    """Classes of the task that they are of."""
    return tokens.shape[-2] - sum(leaf.rows for leaf in self.leaves)

  def _flatten(self, params: Params) -> Float[Array, "S W"]:
    given = leaves_by_path(params)
    if self.roots:
      given = leaves_by_path(mixed(given, self.layers, [root for root, _ in self.roots]))
    rows = {leaf.path: leaf.to_rows(jnp.asarray(given[leaf.path])) for leaf in self.leaves}
    classes = [rows[leaf.path] for leaf in self.leaves if leaf.of_classes]
    blocks = [jnp.concatenate(classes, 1)] if classes else []
    blocks += [rows[leaf.path] for leaf in self.leaves if not leaf.of_classes]
    filled = [jnp.pad(b, ((0, 0), (0, self.width - b.shape[1]))) for b in blocks]
    tokens = jnp.concatenate(filled)
    return tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))

  def _scales(self, ways: int, dtype: Any) -> Array:
    """Of each place; 1 where there is no weight. One row if all tokens are of classes."""
    scale = jnp.asarray(self.scale, dtype)
    of_classes = [
      jnp.broadcast_to(s, (leaf.width,))
      for s, leaf in zip(scale, self.leaves, strict=True)
      if leaf.of_classes
    ]
    columns = jnp.concatenate(of_classes) if of_classes else jnp.ones(0, dtype)
    if len(of_classes) == len(self.leaves):
      return columns
    filled = jnp.pad(columns, (0, self.width - len(columns)), constant_values=1.0)
    blocks = [jnp.broadcast_to(filled, (ways, self.width))]
    blocks += [
      jnp.broadcast_to(s, (leaf.rows, self.width))
      for s, leaf in zip(scale, self.leaves, strict=True)
      if not leaf.of_classes
    ]
    return jnp.concatenate(blocks)

  def leaf_rms(
    self, tokens: Float[Array, "*b S W"], present: Bool[Array, "*b N"] | None = None
  ) -> Float[Array, " leaves"]:
    """Root mean square of each leaf, over all tasks *b; of a leaf of classes over the free
    ones."""
    ways = self.ways(tokens)
    classes = tokens[..., :ways, :]
    there = jnp.ones(classes.shape[:-1], bool) if present is None else present
    free = self.free_classes(there.sum(-1)).sum()
    axes = tuple(range(tokens.ndim - 1))
    square = jnp.sum(classes**2, axis=axes, where=there[..., None]) / free
    found, column, row = [], 0, ways
    for leaf in self.leaves:
      if leaf.of_classes:
        found.append(square[column : column + leaf.width].mean())
        column += leaf.width
      else:
        part = tokens[..., row : row + leaf.rows, : leaf.width]
        number = float(math.prod(leaf.shape) * math.prod(tokens.shape[:-2]))
        found.append(jnp.sum(part**2) / number)
        row += leaf.rows
    return jnp.sqrt(jnp.stack(found))


def weight_space(
  params: Params,
  cuts: Mapping[str, Cut],
  *,
  gauge: bool = True,
  layers: Sequence[Layer] = (),
) -> WeightSpace:
  """The space of the leaves whose path fits a pattern, with scale 1; other leaves are
  frozen. Of several patterns that fit the first one counts.

  Args:
    params: any pytree of arrays or their shapes.
    cuts: pattern, such as `head/*` (`fnmatch`) → how its leaves are cut.
    layers: that are to be preconditioned, by the identity so far.

  Raises:
    InputError: a pattern that fits no leaf; a leaf that is not of floats; an axis that a
      leaf does not have; chunks of no size; a layer of leaves that are not generated.
  """
  given, chosen = leaves_by_path(params), {}
  for pattern, cut in cuts.items():
    fitting = [path for path in given if fnmatch.fnmatchcase(path, pattern)]
    if not fitting:
      raise InputError(f"the pattern {pattern!r} fits no leaf: there are {sorted(given)}")
    for path in fitting:
      chosen.setdefault(path, _leaf_spec(path, given[path], cut))
  leaves = sorted(chosen.values(), key=lambda leaf: not leaf.of_classes)
  roots = identity_roots({path: given[path] for path in chosen}, layers)
  return WeightSpace(jnp.ones(len(leaves)), tuple(leaves), gauge, roots, tuple(layers))


def _leaf_spec(path: str, leaf: Any, cut: Cut) -> LeafSpec:
  if not jnp.issubdtype(leaf.dtype, jnp.floating):
    raise InputError(f"leaf {path} is {leaf.dtype}: only leaves of floats are generated")
  if cut.kind == "chunks":
    if cut.size < 1:
      raise InputError(f"chunks of leaf {path} have size {cut.size}: give at least 1")
  elif not 0 <= cut.axis < leaf.ndim:
    raise InputError(f"leaf {path} has shape {leaf.shape}: it has no axis {cut.axis}")
  shape = list(leaf.shape)
  if cut.kind == "classes":
    del shape[cut.axis]
  return LeafSpec(path, cut, tuple(shape), str(leaf.dtype))
