"""Low-rank adapters of any network (Hu et al. 2022): W + A B for chosen matrices W.

`A` is fixed and random by default and `B` is what is generated, so that different weights
are different functions and no gauge is needed. Where both are free, A B is the same for
(A M, M⁻¹ B): `canonical` chooses one of them.
"""

import fnmatch
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Network, Params
from mcdi_jax.weights.leaves import leaves_by_path, merged, nested


def lora(network: Network, pattern: str, rank: int) -> Network:
  """The network with adapters: params `{"base", "a", "b"}`, the last two with the paths of
  the adapted leaves. B is 0 at first, so that nothing is changed.

  Args:
    pattern: of the paths of leaves to adapt (`fnmatch`). Of a leaf of more than two axes
      the last one is the outputs, and the others together are the inputs.
    rank: of A [inputs, rank] and B [rank, outputs].

  Raises:
    InputError: when its `init` is called: a pattern that fits no leaf, a leaf with one
      axis, or a rank that is no smaller than a leaf's.
  """

  def init(key: Key[Array, ""]) -> Params:
    k_base, k_a = jax.random.split(key)
    base = network.init(k_base)
    return {"base": base, **init_adapters(k_a, base, pattern, rank)}

  def apply(params: Params, x: Any) -> Any:
    return network.apply(merge_adapters(params), x)

  return Network(init, apply)


def init_adapters(key: Key[Array, ""], base: Params, pattern: str, rank: int) -> Params:
  """`{"a": Gaussian of variance 1/inputs, "b": 0}` for the leaves that fit; arguments and
  errors as for `lora`."""
  found = {p: leaf for p, leaf in leaves_by_path(base).items() if _fits(p, pattern)}
  if not found:
    known = sorted(leaves_by_path(base))
    raise InputError(f"the pattern {pattern!r} fits no leaf: there are {known}")
  a, b = {}, {}
  keys = jax.random.split(key, len(found))
  for k, (path, leaf) in zip(keys, sorted(found.items()), strict=True):
    if leaf.ndim < 2:
      raise InputError(f"leaf {path} has shape {leaf.shape}: only matrices have adapters")
    inputs, outputs = math.prod(leaf.shape[:-1]), leaf.shape[-1]
    if not 0 < rank < min(inputs, outputs):
      raise InputError(
        f"rank is {rank}: leaf {path} is {inputs}×{outputs}, so give 1 to "
        f"{min(inputs, outputs) - 1}"
      )
    a[path] = (jax.random.normal(k, (inputs, rank)) * inputs**-0.5).astype(leaf.dtype)
    b[path] = jnp.zeros((rank, outputs), leaf.dtype)
  return {"a": nested(a), "b": nested(b)}


def merge_adapters(params: Params) -> Params:
  """The base's tree with A B added.

  Raises:
    InputError: an adapter of a leaf that the base has not, or has in another shape.
  """
  base, a, b = (leaves_by_path(params[name]) for name in ("base", "a", "b"))
  _check_fit(base, a, b)
  adapted = {path: base[path] + (a[path] @ b[path]).reshape(base[path].shape) for path in a}
  return merged(params["base"], nested(adapted))


def _check_fit(base: Params, a: Params, b: Params) -> None:
  of_another = "the adapter is of another base"
  if a.keys() != b.keys():
    raise InputError(f"A and B are of different leaves: {sorted(a.keys() ^ b.keys())}")
  for path in a:
    if path not in base:
      raise InputError(f"{of_another}: this one has no leaf {path}")
    shape = base[path].shape
    (inputs, _), (_, outputs) = a[path].shape, b[path].shape
    if (math.prod(shape[:-1]), shape[-1]) != (inputs, outputs):
      raise InputError(f"{of_another}: leaf {path} is {shape}, A B {(inputs, outputs)}")


def canonical(
  a: Float[Array, "i r"], b: Float[Array, "r o"]
) -> tuple[Float[Array, "i r"], Float[Array, "r o"]]:
  """The (A, B) of one product A B = U S Vᵀ that all its pairs share: A = U √S, B = √S Vᵀ,
  singular values falling, the largest entry of each column of A positive.

  It is one pair, and differentiable, only where the r singular values are different and
  none is 0; `distinct` tells.
  """
  u, s, vt = jnp.linalg.svd(a @ b, full_matrices=False)
  rank = a.shape[1]
  u, s, vt = u[:, :rank], s[:rank], vt[:rank]
  largest = jnp.take_along_axis(u, abs(u).argmax(0)[None], 0)[0]
  root = jnp.sqrt(s) * jnp.where(largest < 0, -1.0, 1.0)
  return u * root, root[:, None] * vt


def distinct(
  a: Float[Array, "i r"], b: Float[Array, "r o"], tolerance: float = 1e-4
) -> Array:
  """Whether the singular values of A B are different and none is 0, relative to the first:
  bool []."""
  s = jnp.linalg.svd(a @ b, compute_uv=False)[: a.shape[1]]
  gaps = jnp.append(s[:-1] - s[1:], s[-1])
  return (gaps > tolerance * s[0]).all()


def _fits(path: str, pattern: str) -> bool:
  return fnmatch.fnmatchcase(path, pattern)
