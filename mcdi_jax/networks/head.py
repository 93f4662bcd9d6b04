"""A linear classifier on features: the first object whose weights are generated."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.networks.network import Network, Params


def head(width: int, ways: int, *, scale: Any = 0.0) -> Network:
  """`{"head": {"kernel": [D, N], "bias": [N]}}`; θ_0 is Gaussian with the given scale."""

  def init(key: Key[Array, ""]) -> Params:
    kernel = scale * jax.random.normal(key, (width, ways))
    return {"head": {"kernel": kernel, "bias": jnp.zeros(ways)}}

  return Network(init, apply_head)


def apply_head(params: Params, x: Float[Array, "n D"]) -> Float[Array, "n N"]:
  return x @ params["head"]["kernel"] + params["head"]["bias"]


def prototype_head(means: Float[Array, "N D"]) -> Params:
  """The head whose logits are −½‖x − μ_c‖² up to a constant (Snell et al. 2017, 2.3), from
  the means of the classes' features.

  It is the nearest-class-mean classifier, and the base of `generated_delta`.
  """
  return {"head": {"kernel": means.T, "bias": -0.5 * jnp.sum(means**2, axis=1)}}


def without_absent(params: Params, present: Bool[Array, " N"]) -> Params:
  """The same head with logits −∞ for the classes that are not there."""
  kernel, bias = params["head"]["kernel"], params["head"]["bias"]
  absent = jnp.asarray(-jnp.inf, bias.dtype)
  return {
    "head": {
      "kernel": jnp.where(present, kernel, 0),
      "bias": jnp.where(present, bias, absent),
    }
  }
