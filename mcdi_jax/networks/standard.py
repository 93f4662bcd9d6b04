"""Features of mean zero and mean squared norm 1, so that heads are well-conditioned.

Features after a ReLU are mostly their mean, and a head's steps along it drown those that
tell classes apart; at norm 1 a descent moves kernel and bias at one speed. One vector and
one number are taken from the training images; nothing is done to single coordinates, so
the distances between features keep their proportions. Features of networks that were
trained to classify tell classes apart by their direction alone: these may be divided by
their length besides (Wang et al. 2019).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.networks.network import Network, Params


def standardised(
  network: Network, image_shape: tuple[int, ...], *, unit_length: bool = False
) -> Network:
  """(features − mean) / scale; params `{"network", "mean": [D], "scale": []}`.

  Args:
    unit_length: (features − mean) / their length instead.
  """

  def init(key: Key[Array, ""]) -> Params:
    params = network.init(key)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    width = jax.eval_shape(network.apply, params, image).shape[-1]
    return {"network": params, "mean": jnp.zeros(width), "scale": jnp.ones(())}

  def apply(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n D"]:
    features = (network.apply(params["network"], x) - params["mean"]) / params["scale"]
    if not unit_length:
      return features
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.maximum(length, 1e-8)

  return Network(init, apply)


def fit_standardisation(params: Params, features: Float[Array, "n D"]) -> Params:
  """The params of the standardised network, from the network's own features."""
  mean = features.mean(0)
  scale = jnp.sqrt(jnp.mean(jnp.sum((features - mean) ** 2, -1)))
  return {"network": params, "mean": mean, "scale": jnp.maximum(scale, 1e-8)}
