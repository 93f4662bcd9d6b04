"""How good a backbone is in the middle of its pretraining: prototypes of unseen classes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.networks.head import apply_head, prototype_head
from mcdi_jax.networks.network import Params
from mcdi_jax.networks.pretrain import features_of
from mcdi_jax.tasks import Protocol, class_means, membership, sample_task

PROTOCOLS = (Protocol(5, 1), Protocol(5, 5))


def validation(
  apply: Callable[..., Any], key: Key[Array, ""], *, tasks: int = 2000
) -> Callable[[Params, ClassSet], dict[str, Array]]:
  """The jitted `look(params, images) → {"val_5w1s": …}`: the share of right answers, in
  percent, of the nearest class mean of features of length 1, always on the same tasks."""

  @jax.jit
  def look(params: Params, images: ClassSet) -> dict[str, Array]:
    x = features_of(apply, params, images.x)
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    items = images._replace(x=x / jnp.maximum(length, 1e-8))
    found = {}
    for protocol in PROTOCOLS:
      right = jax.lax.map(
        lambda k, protocol=protocol: _right(k, items, protocol),
        jax.random.split(key, tasks),
      )
      found[f"val_{protocol.ways}w{protocol.shots}s"] = 100 * right.mean()
    return found

  return look


def _right(key: Key[Array, ""], items: ClassSet, protocol: Protocol) -> Float[Array, ""]:
  support, query = sample_task(key, items, protocol)
  means = class_means(membership(support, protocol.ways), support.x)
  return jnp.mean(apply_head(prototype_head(means), query.x).argmax(-1) == query.y)
