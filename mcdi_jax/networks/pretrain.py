"""Episodic pretraining of a backbone on the meta-train classes (Snell et al. 2017)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from optax.contrib import MuonDimensionNumbers, muon

from mcdi_jax.data import ClassSet
from mcdi_jax.data.augment import warp
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.lib.config import check
from mcdi_jax.networks.conv4 import apply_in_groups
from mcdi_jax.networks.network import Network, Params
from mcdi_jax.tasks import sample_classes, sample_support


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """conv-4 and its pretraining by prototypical episodes.

  Attributes:
    width: channels of each block.
    steps: episodes.
    ways: classes of an episode.
    drawings: images of each class; every one takes its turn as the 1-shot support of all
      others, so that an episode counts `drawings` times.
    warp: share of the images that are slightly turned, scaled, sheared and shifted.
    group: images that are normalised together; divides ways · drawings.
    rate: peak rate of Muon on the kernels (Jordan et al. 2024); gains and biases take
      Adam at a tenth of it. Both rise for a hundred steps (a tenth
      of them all, if that is less) and fall to 0 along a cosine.
    statistics_memory: decay of the running mean of the batch statistics.
  """

  width: int = 64
  steps: int = 8000
  ways: int = 60
  drawings: int = 6
  warp: float = 0.7
  group: int = 15
  rate: float = 0.03
  statistics_memory: float = 0.98

  def __post_init__(self):
    where = "config.backbone"
    least = {"width": 1, "steps": 1, "ways": 2, "drawings": 2, "group": 1}
    for name, number in least.items():
      value = getattr(self, name)
      check(value >= number, f"{where}.{name}", value, f"give at least {number}")
    check(0 <= self.warp <= 1, f"{where}.warp", self.warp, "give a share from 0 to 1")
    check(self.rate > 0, f"{where}.rate", self.rate, "give a positive rate")
    images = self.ways * self.drawings
    remedy = f"it must divide the {images} images of an episode (ways · drawings)"
    check(images % self.group == 0, f"{where}.group", self.group, remedy)


class PretrainState(NamedTuple):
  step: Any
  params: Params
  opt_state: Any


def pretraining(
  network: Network, config: BackboneConfig
) -> tuple[Callable[..., PretrainState], Callable[..., Any]]:
  """`init(key) → state` and the jitted `step(state, key, images) → (state, metrics)`.

  Metrics: `loss` (cross-entropy of an episode) and `accuracy` in percent.
  """
  optimiser = _optimiser(config)

  def init(key: Key[Array, ""]) -> PretrainState:
    params = network.init(key)
    return PretrainState(jnp.int32(0), params, optimiser.init(params["weights"]))

  def loss(weights: list[Params], key: Key[Array, ""], images: ClassSet) -> Any:
    k_classes, k_items, k_warp, k_order = jax.random.split(key, 4)
    classes = sample_classes(k_classes, images, config.ways)
    x = to_unit(sample_support(k_items, images, classes, config.drawings).x)
    x = _warp_some(x, k_warp, config.warp)
    # In random order, or a group's statistics would give its classes away.
    order = jax.random.permutation(k_order, len(x))
    shuffled, seen = apply_in_groups(weights, x[order], config.group)
    features = jnp.zeros_like(shuffled).at[order].set(shuffled)
    losses, right = episode(features.reshape(config.ways, config.drawings, -1))
    return losses, (seen, right)

  @jax.jit(donate_argnames="state")
  def step(state: PretrainState, key: Key[Array, ""], images: ClassSet) -> Any:
    key = jax.random.fold_in(key, state.step)
    weights, statistics = state.params["weights"], state.params["statistics"]
    value, gradient = jax.value_and_grad(loss, has_aux=True)(weights, key, images)
    updates, opt_state = optimiser.update(gradient, state.opt_state, weights)
    mean_loss, (seen, accuracy) = value
    params = {
      "weights": optax.apply_updates(weights, updates),
      "statistics": optax.incremental_update(
        seen, statistics, 1 - config.statistics_memory
      ),
    }
    metrics = {"loss": mean_loss, "accuracy": 100 * accuracy}
    return PretrainState(state.step + 1, params, opt_state), metrics

  return init, step


def _warp_some(
  x: Float[Array, "n h w c"], key: Key[Array, ""], share: float
) -> Float[Array, "n h w c"]:
  k_which, k_warp = jax.random.split(key)
  chosen = jax.random.bernoulli(k_which, share, (len(x), 1, 1, 1))
  return jnp.where(chosen, jax.vmap(warp)(x, jax.random.split(k_warp, len(x))), x)


def _optimiser(config: BackboneConfig) -> optax.GradientTransformation:
  warmup = min(100, config.steps // 10)
  rate = lambda peak: optax.warmup_cosine_decay_schedule(0.0, peak, warmup, config.steps)  # noqa: E731
  kernel = MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
  return muon(
    rate(config.rate),
    adam_learning_rate=rate(0.1 * config.rate),
    muon_weight_dimension_numbers=lambda weights: jax.tree.map(
      lambda leaf: kernel if leaf.ndim == 4 else None, weights
    ),
  )


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


def embed(apply: Callable[..., Any], params: Params, images: ClassSet) -> ClassSet:
  """The same classes with each image replaced by its features float32 [n, D]."""
  one = lambda x: apply(params, to_unit(x)[None])[0]  # noqa: E731
  in_batches = lambda number: lambda x: jax.lax.map(one, x, batch_size=number)  # noqa: E731

  @jax.jit
  def all_features(x: Array) -> Float[Array, "n D"]:
    # On CPU as many images as stay in cache: twice as fast as 256.
    return jax.lax.platform_dependent(x, cpu=in_batches(16), default=in_batches(256))

  return images._replace(x=all_features(images.x))
