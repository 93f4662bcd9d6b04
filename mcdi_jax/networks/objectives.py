"""What a backbone is pretrained on: prototypical episodes, or telling all classes apart."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.provenance import platform_used
from mcdi_jax.networks.network import Params
from mcdi_jax.networks.normalised import Normalised, apply_in_groups

Draw = Callable[[Key[Array, ""], ClassSet], tuple[Array, Array, Array]]


class Objective(NamedTuple):
  """
  Attributes:
    init: `init(key) → weights`, of all that is trained.
    gradient: `gradient(weights, key, images) → (loss, (statistics, share of right
      answers)), gradient`.
    backbone: `backbone(weights)`: those of the backbone.
  """

  init: Callable[[Key[Array, ""]], Params]
  gradient: Callable[[Params, Key[Array, ""], ClassSet], Any]
  backbone: Callable[[Params], Params]


def episodes(network: Normalised, draw: Draw, group: int) -> Objective:
  """Prototypical (Snell et al. 2017): every image takes its turn as its class's support.

  Args:
    draw: `draw(key, images) → x [n, h, w, c], class, order`: as many of each class, which
      lie together, and the order to normalise them in.
  """

  def loss(weights: Params, key: Key[Array, ""], images: ClassSet) -> Any:
    x, classes, order = draw(key, images)
    # In random order, or a group's statistics would give its classes away.
    shuffled, seen = apply_in_groups(network, weights, x[order], group)
    features = jnp.zeros_like(shuffled).at[order].set(shuffled)
    losses, right = episode(features.reshape(len(classes), -1, features.shape[-1]))
    return losses, (seen, right)

  return Objective(network.init, jax.value_and_grad(loss, has_aux=True), lambda w: w)


def episode(
  features: Float[Array, "N n D"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """The prototypical loss in which every item takes its turn as its class's support.

  Returns:
    Mean cross-entropy over (support, query) pairs of different items, and the share of
    right answers.
  """
  ways, number, _ = features.shape
  products = jnp.einsum("nqd,msd->sqnm", features, features)
  # −‖x − μ_m‖² up to ‖x‖².
  logits = 2 * products - jnp.sum(features**2, -1).T[:, None, None]
  labels = jnp.broadcast_to(jnp.arange(ways), logits.shape[:-1])
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  others = ~jnp.eye(number, dtype=bool)[:, :, None]
  right = jnp.mean(logits.argmax(-1) == labels, where=others)
  return jnp.mean(losses, where=others), right


def classification(
  network: Normalised, draw: Draw, group: int, *, width: int, classes: int, smoothing: float
) -> Objective:
  """Cross-entropy of a linear classifier of all classes on the features, with label
  smoothing (Szegedy et al. 2016); `draw` as in `episodes`.

  Args:
    width: of the features.
    smoothing: share of a label that is spread over all classes.
  """

  def init(key: Key[Array, ""]) -> Params:
    k_network, k_classifier = jax.random.split(key)
    kernel = width**-0.5 * jax.random.normal(k_classifier, (width, classes))
    classifier = {"kernel": kernel, "bias": jnp.zeros(classes)}
    return {"network": network.init(k_network), "classifier": classifier}

  def loss(weights: Params, x: Float[Array, "n h w c"], y: Int[Array, " n"]) -> Any:
    features, seen = network.apply_own(weights["network"], x)
    logits = features @ weights["classifier"]["kernel"] + weights["classifier"]["bias"]
    target = optax.smooth_labels(jax.nn.one_hot(y, classes), smoothing)
    losses = optax.softmax_cross_entropy(logits, target)
    return losses.mean(), (seen, jnp.mean(logits.argmax(-1) == y))

  def gradient(weights: Params, key: Key[Array, ""], images: ClassSet) -> Any:
    x, chosen, order = draw(key, images)
    y = jnp.repeat(chosen, len(x) // len(chosen))
    groups = [part[order].reshape(-1, group, *part.shape[1:]) for part in (x, y)]
    return gradient_over_groups(loss, weights, *groups)

  return Objective(init, gradient, lambda weights: weights["network"])


def gradient_over_groups(loss: Callable[..., Any], weights: Params, *groups: Any) -> Any:
  """`jax.value_and_grad` with auxiliary output of the mean of `loss(weights, *group)` over
  groups, the first axis of `groups`. On CPU one after the other, forward and backward: what
  is kept in between stays in cache, and nothing is computed twice."""
  each = jax.value_and_grad(loss, has_aux=True)

  def in_turn(weights: Params, groups: Any) -> Any:
    first = jax.tree.map(lambda part: part[0], groups)
    like = jax.eval_shape(each, weights, *first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    add = lambda total, group: (jax.tree.map(jnp.add, total, each(weights, *group)), None)  # noqa: E731
    total, _ = jax.lax.scan(add, zeros, groups)
    return jax.tree.map(lambda leaf: leaf / len(groups[0]), total)

  def at_once(weights: Params, groups: Any) -> Any:
    def mean(weights: Params) -> Any:
      of_group = functools.partial(loss, weights)
      return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(of_group)(*groups))

    return jax.value_and_grad(mean, has_aux=True)(weights)

  order = in_turn if platform_used() == "cpu" else at_once
  return order(weights, groups)
