"""Episodic pretraining of a backbone on the meta-train classes (Snell et al. 2017)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.lib.config import check
from mcdi_jax.networks.conv4 import apply_with_batch_statistics
from mcdi_jax.networks.head import apply_head, prototype_head
from mcdi_jax.networks.network import Network
from mcdi_jax.tasks import Protocol, sample_task

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """conv-4 and its pretraining by prototypical episodes.

  Attributes:
    width: channels of each block.
    steps: episodes.
    ways, shots, queries: the form of an episode.
    rate: Adam's peak rate; it falls to 0 along a cosine.
    statistics_memory: decay of the running mean of the batch statistics.
    seed: of the initial weights and of the episodes.
  """

  width: int = 64
  steps: int = 2600
  ways: int = 60
  shots: int = 1
  queries: int = 5
  rate: float = 2e-3
  statistics_memory: float = 0.98
  seed: int = 0

  def __post_init__(self):
    where = "config.backbone"
    least = {"width": 1, "steps": 1, "ways": 2, "shots": 1, "queries": 1}
    for name, number in least.items():
      value = getattr(self, name)
      check(value >= number, f"{where}.{name}", value, f"give at least {number}")
    check(self.rate > 0, f"{where}.rate", self.rate, "give a positive rate")


class PretrainState(NamedTuple):
  step: Any
  params: Params
  opt_state: Any


def pretraining(
  network: Network, config: BackboneConfig
) -> tuple[Callable[..., PretrainState], Callable[..., Any]]:
  """`init(key) → state` and the jitted `step(state, key, images) → (state, metrics)`.

  Metrics: `loss` (cross-entropy of the episode's queries) and `accuracy` in percent.
  """
  optimiser = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
  protocol = Protocol(config.ways, config.shots, config.queries)

  def init(key: Key[Array, ""]) -> PretrainState:
    params = network.init(key)
    return PretrainState(jnp.int32(0), params, optimiser.init(params["weights"]))

  def loss(weights: list[Params], key: Key[Array, ""], images: ClassSet) -> Any:
    support, query = sample_task(key, images, protocol)
    x = to_unit(jnp.concatenate([support.x, query.x]))
    features, seen = apply_with_batch_statistics(weights, x)
    on_support, on_query = jnp.split(features, [len(support.y)])
    by_class = on_support.reshape(config.ways, config.shots, -1)
    # ‖x − μ‖² itself: twice the prototype head's logits, up to a constant.
    logits = 2 * apply_head(prototype_head(by_class), on_query)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, query.y)
    return losses.mean(), (seen, jnp.mean(logits.argmax(-1) == query.y))

  @jax.jit(donate_argnames="state")
  def step(state: PretrainState, key: Key[Array, ""], images: ClassSet) -> Any:
    key = jax.random.fold_in(key, state.step)
    value, gradient = jax.value_and_grad(loss, has_aux=True)(
      state.params["weights"], key, images
    )
    updates, opt_state = optimiser.update(gradient, state.opt_state)
    mean_loss, (seen, accuracy) = value
    params = {
      "weights": optax.apply_updates(state.params["weights"], updates),
      "statistics": optax.incremental_update(
        seen, state.params["statistics"], 1 - config.statistics_memory
      ),
    }
    metrics = {"loss": mean_loss, "accuracy": 100 * accuracy}
    return PretrainState(state.step + 1, params, opt_state), metrics

  return init, step


def embed(apply: Callable[..., Any], params: Params, images: ClassSet) -> ClassSet:
  """The same classes with each image replaced by its features float32 [n, D]."""
  one = lambda x: apply(params, to_unit(x)[None])[0]  # noqa: E731
  features = jax.jit(lambda x: jax.lax.map(one, x, batch_size=256))(images.x)
  return images._replace(x=features)
