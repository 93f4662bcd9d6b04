"""Finishing: the generated weights must classify queries (`method.md` 3.10).

The query loss is back-propagated through the T-step sampler. Gradients are taken in
training only; inference stays free of them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.lib.config import check
from mcdi_jax.meta.batch import TaskSource
from mcdi_jax.meta.training import Training, adam, outer_training
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Protocol, Task, sample_task

Params = Any


@dataclasses.dataclass(frozen=True)
class FinishingConfig:
  """Training on the query loss: of a trained generator (`generated_finished`), or of the
  same score network from scratch at T = 1 (`hypernetwork`).

  Attributes:
    steps: of Adam, for finishing; the hypernetwork takes meta.steps more.
    tasks: drawn anew from the training classes at each step.
    queries: a class.
    feature_noise: sd of Gaussian noise on the features of support and queries, in units
      of their rms coordinate. Training classes lie further apart than unseen ones; noise
      makes their tasks as hard.
    rate: peak rate for finishing; the hypernetwork takes meta.rate.
    warmup: share of the steps in which the rate rises.
    clip: largest norm of the gradient; 0 is off.
    ema: decay of the averaged score network.
    validate_every: steps between looks at the validation tasks.
    save_every: steps between checkpoints.
  """

  steps: int = 600
  tasks: int = 16
  queries: int = 15
  feature_noise: float = 0.5
  rate: float = 1e-3
  warmup: float = 0.05
  clip: float = 1.0
  ema: float = 0.98
  validate_every: int = 150
  save_every: int = 300

  def __post_init__(self):
    where = "config.finishing"
    for name in ("steps", "tasks", "queries", "validate_every", "save_every"):
      value = getattr(self, name)
      check(value >= 1, f"{where}.{name}", value, "give at least 1")
    for name in ("feature_noise", "clip"):
      value = getattr(self, name)
      check(value >= 0, f"{where}.{name}", value, "give at least 0; 0 is off")
    check(self.rate > 0, f"{where}.rate", self.rate, "give a positive rate")
    check(0 <= self.warmup < 1, f"{where}.warmup", self.warmup, "give a share in [0, 1)")
    check(0 <= self.ema < 1, f"{where}.ema", self.ema, "give a decay in [0, 1)")


def query_loss(
  score: Params, generator: Generator, task: Task, key: Key[Array, ""], ways: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Mean cross-entropy of a task's queries under the weights that are generated from its
  support at τ = 0; and the share of them that is right. x are features [n, D]."""
  generator = dataclasses.replace(generator, score=score)
  params = generate_from_features(generator, task.support, key, ways=ways)
  logits, (_, y, counted) = apply_head(params, task.query.x), task.query
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
  mean = lambda x: jnp.sum(jnp.where(counted, x, 0.0)) / counted.sum()  # noqa: E731
  return mean(losses), mean(logits.argmax(-1) == y)


def noisy_task(
  key: Key[Array, ""],
  features: ClassSet,
  protocol: Protocol,
  noise: float,
  form: tuple[Any, Any] | None = None,
) -> Task:
  """A task of training classes, with noise on its features; `form` as in `sample_task`."""
  k_task, k_support, k_query = jax.random.split(key, 3)
  support, query = sample_task(k_task, features, protocol, form=form)
  sd = noise * features.x.shape[-1] ** -0.5  # the features' mean squared norm is 1
  blur = lambda k, x: x + sd * jax.random.normal(k, x.shape)  # noqa: E731
  return Task(
    support._replace(x=blur(k_support, support.x)),
    query._replace(x=blur(k_query, query.x)),
  )


def finishing(
  generator: Generator, config: FinishingConfig, *, steps: int, rate: float
) -> Training:
  """The query loss, averaged over tasks. The metrics are `loss`, `accuracy` in percent of
  the training queries, `gradient` (its norm)."""

  shots = max(generator.spec.shots)

  def gradient_of_form(
    score: Params, key: Key[Array, ""], source: TaskSource, form: Any
  ) -> tuple[Params, dict[str, Array]]:
    protocol = Protocol(source.ways, shots, config.queries)
    draw = lambda k: noisy_task(  # noqa: E731
      k, source.features, protocol, config.feature_noise, source.form(form)
    )

    def mean_loss(score: Params) -> tuple[Array, Array]:
      def one(key: Key[Array, ""]) -> tuple[Array, Array]:
        k_task, k_sample = jax.random.split(key)
        return query_loss(score, generator, draw(k_task), k_sample, protocol.ways)

      losses, right = jax.vmap(one)(jax.random.split(key, config.tasks))
      return losses.mean(), right.mean()

    (loss, right), gradient = jax.value_and_grad(mean_loss, has_aux=True)(score)
    return gradient, {"loss": loss, "accuracy": 100 * right}

  optimiser = adam(rate, steps=steps, warmup=config.warmup, clip=config.clip)
  return outer_training(gradient_of_form, optimiser, config.ema)
