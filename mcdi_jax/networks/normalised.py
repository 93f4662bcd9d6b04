"""Networks with batch normalisation, before it is said with which statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.network import Network, Params

EPSILON = 1e-5


class Normalised(NamedTuple):
  """Its weights have a `gain` and a `bias` wherever it normalises; the statistics have a
  `mean` and a `var` at those places.

  Attributes:
    init: `init(key) → weights`.
    apply: `apply(weights, statistics, x [n, ...]) → [n, D]`, with the statistics given.
    apply_own: `apply_own(weights, x, mask=None) → [n, D], statistics`, with those of the
      items that count, which come back. None: all count.
    apply_mixed: `apply_mixed(weights, statistics, x, share, mask=None) → [n, D],
      statistics`, with `share` of the items' own at each place and the rest those that are
      given; their own come back.
  """

  init: Callable[[Key[Array, ""]], Params]
  apply: Callable[[Params, Params, Any], Array]
  apply_own: Callable[..., tuple[Array, Params]]
  apply_mixed: Callable[..., tuple[Array, Params]]


def with_statistics(network: Normalised) -> Network:
  """Params `{"weights", "statistics"}`: those that pretraining left, so that a feature
  depends on its own image alone: non-transductive."""

  def init(key: Key[Array, ""]) -> Params:
    weights = network.init(key)
    return {"weights": weights, "statistics": fresh_statistics(weights)}

  def apply(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n D"]:
    return network.apply(params["weights"], params["statistics"], x)

  return Network(init, apply)


def fresh_statistics(weights: Params) -> Params:
  """Mean 0 and variance 1."""
  if isinstance(weights, list):
    return [fresh_statistics(inside) for inside in weights]
  if "gain" in weights:
    gain = weights["gain"]
    return {"mean": jnp.zeros_like(gain), "var": jnp.ones_like(gain)}
  groups = {name: x for name, x in weights.items() if isinstance(x, (dict, list))}
  return {name: fresh_statistics(x) for name, x in groups.items()}


def unmodulated(weights: Params) -> Params:
  """Of every normalisation a `gain` and a `bias` of zeros, which change nothing."""
  if isinstance(weights, list):  # as weights are once they have been tokens
    return {str(n): unmodulated(inside) for n, inside in enumerate(weights)}
  if "gain" in weights:
    return {name: jnp.zeros_like(weights[name]) for name in ("gain", "bias")}
  groups = {name: x for name, x in weights.items() if isinstance(x, (dict, list))}
  return {name: unmodulated(x) for name, x in groups.items()}


def modulated(weights: Params, film: Params) -> Params:
  """Gains multiplied by 1 + `gain`, `bias` added to biases (FiLM, Perez et al. 2018)."""
  if isinstance(weights, list):
    return [modulated(inside, film[str(n)]) for n, inside in enumerate(weights)]
  if "gain" in weights:
    gain = weights["gain"] * (1 + film["gain"])
    return {**weights, "gain": gain, "bias": weights["bias"] + film["bias"]}
  changed = {name: modulated(weights[name], inside) for name, inside in film.items()}
  return {**weights, **changed}


def renormalised(weights: Params, given: Params, own: Params, share: Any) -> Params:
  """The `film` with which such a share of other statistics is normalised with, where
  `given` are the network's."""
  if isinstance(weights, list):
    both = zip(weights, given, own, strict=True)
    return {str(n): renormalised(*parts, share) for n, parts in enumerate(both)}
  if "gain" in weights:
    other = mixed(given, own, share)
    deviation = jnp.sqrt(other["var"] + EPSILON)
    gain = jnp.sqrt(given["var"] + EPSILON) / deviation - 1
    away = (given["mean"] - other["mean"]) / deviation
    return {"gain": gain, "bias": weights["gain"] * away}
  groups = {name: x for name, x in weights.items() if isinstance(x, (dict, list))}
  return {n: renormalised(x, given[n], own[n], share) for n, x in groups.items()}


def mixed(given: Params, own: Params, share: Any) -> Params:
  """`mean` and `var` of so large a share of the one, and the rest of the other. A share of
  0, if it is known where it is compiled, leaves nothing to compute."""
  if isinstance(share, float) and not share:
    return given
  mean = (1 - share) * given["mean"] + share * own["mean"]
  between = share * (1 - share) * (given["mean"] - own["mean"]) ** 2
  return {"mean": mean, "var": (1 - share) * given["var"] + share * own["var"] + between}


def moments(x: Float[Array, "n h w c"], mask: Bool[Array, " n"] | None = None) -> Params:
  """`mean` and `var` [c] over the images that count."""
  where = None if mask is None else mask[:, None, None, None]
  return {"mean": x.mean((0, 1, 2), where=where), "var": x.var((0, 1, 2), where=where)}


def normalise(x: Float[Array, "n h w c"], norm: Params, statistics: Params) -> Array:
  """Gain and bias [c] on what has these statistics."""
  gain = norm["gain"] * jax.lax.rsqrt(statistics["var"] + EPSILON)
  return (x - statistics["mean"]) * gain + norm["bias"]


def without_uncounted(
  x: Float[Array, "n h w c"], mask: Bool[Array, " n"] | None
) -> Float[Array, "n h w c"]:
  """0 for images that do not count: they may hold anything, gradients included."""
  return x if mask is None else jnp.where(mask[:, None, None, None], x, 0.0)


def apply_in_groups(
  network: Normalised, weights: Params, x: Float[Array, "n h w c"], group: int
) -> tuple[Float[Array, "n D"], Params]:
  """The forward pass of pretraining: every `group` images are normalised with their own
  statistics (ghost batches, Hoffer et al. 2017), whose mean comes back with the features.

  A group is small enough for the caches, and is computed anew in the backward pass
  rather than read from memory: together 2.2 times as fast on CPU as one batch of 360.
  """
  of_group = jax.checkpoint(lambda x: network.apply_own(weights, x))
  groups = x.reshape(-1, group, *x.shape[1:])
  features, seen = jax.lax.platform_dependent(
    groups,
    cpu=lambda groups: jax.lax.map(of_group, groups),
    default=jax.vmap(of_group),
  )
  return features.reshape(len(x), -1), jax.tree.map(lambda s: s.mean(0), seen)
