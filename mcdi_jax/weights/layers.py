"""Preconditioning: coordinates in which an error of a layer's weights is as large as the
error of what the layer puts out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.weights.leaves import leaves_by_path, nested


class Layer(NamedTuple):
  """An affine map whose weights are generated, by the paths of its leaves.

  Attributes:
    kernel: its last axis is the outputs; the others, in their order, the inputs.
    bias: [outputs]; empty: there is none.
  """

  kernel: str
  bias: str = ""


class Roots(NamedTuple):
  """(Σ + ε·tr(Σ)/d·I)^½ of a layer's inputs, float32 [d, d], and its inverse; d counts the
  homogeneous coordinate of a layer that has a bias."""

  root: Any
  inverse: Any


def identity_roots(params: Params, layers: Sequence[Layer]) -> tuple[Roots, ...]:
  """Under which coordinates are the weights themselves.

  Raises:
    InputError: a layer of no leaf.
  """
  given, found = leaves_by_path(params), []
  for layer in layers:
    for path in filter(None, layer):
      if path not in given:
        raise InputError(f"the layer {layer} has no leaf: there are {sorted(given)}")
    kernel = given[layer.kernel]
    inputs = int(np.prod(kernel.shape[:-1])) + bool(layer.bias)
    found.append(Roots(jnp.eye(inputs), jnp.eye(inputs)))
  return tuple(found)


def second_moment(
  inputs: Float[Array, "n p d"], homogeneous: bool, mask: Bool[Array, " n"] | None = None
) -> Float[Array, "D D"]:
  """Mean of h hᵀ over the items that count and their p positions; D is d, or d + 1 with
  the homogeneous coordinate."""
  if homogeneous:
    inputs = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], -1)
  counts = jnp.ones(len(inputs), bool) if mask is None else mask
  h = jnp.where(counts[:, None, None], inputs, 0.0).reshape(-1, inputs.shape[-1])
  return h.T @ h / (jnp.maximum(counts.sum(), 1) * inputs.shape[1])


def damped_roots(moment: Any, damping: float) -> Roots:
  """Of a second moment [d, d], in float64 on the host; damping is ε, in units of the mean
  eigenvalue."""
  moment = np.asarray(moment, np.float64)
  values, vectors = np.linalg.eigh((moment + moment.T) / 2)
  damped = np.sqrt(np.maximum(values, 0) + damping * np.maximum(values.mean(), 1e-12))
  root, inverse = ((vectors * scale) @ vectors.T for scale in (damped, 1 / damped))
  return Roots(jnp.float32(root), jnp.float32(inverse))


def mixed(params: Params, layers: Sequence[Layer], matrices: Sequence[Array]) -> Params:
  """Each layer's inputs multiplied by its matrix [d, d], kernel and bias as one; other
  leaves as they are."""
  found = leaves_by_path(params)
  for layer, matrix in zip(layers, matrices, strict=True):
    kernel = found[layer.kernel]
    rows = kernel.reshape(-1, kernel.shape[-1])
    if not layer.bias:
      found[layer.kernel] = _product(matrix, rows).reshape(kernel.shape)
      continue
    rows = _product(matrix, jnp.concatenate([rows, found[layer.bias][None]]))
    found[layer.kernel] = rows[:-1].reshape(kernel.shape)
    found[layer.bias] = rows[-1]
  return nested(found)


def _product(matrix: Array, rows: Array) -> Array:
  wide = jnp.promote_types(rows.dtype, jnp.float32)
  return jnp.matmul(matrix.astype(wide), rows.astype(wide), precision="highest")
