"""Finishing: the generated weights must do well on queries (`method.md` 3.10).

The query loss is back-propagated through the T-step sampler. Gradients are taken in
training only; inference stays free of them.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.lib.config import check
from mcdi_jax.lib.keys import key_of_pass
from mcdi_jax.meta.batch import TaskSource
from mcdi_jax.meta.reptile import mean_gradient, mean_gradient_by_platform
from mcdi_jax.meta.training import Training, adam, outer_training
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Form, Protocol, Task, mean_over_items


@dataclasses.dataclass(frozen=True)
class FinishingConfig:
  """Training on the query loss: of a trained generator (`generated_finished`), or of the
  same score network from scratch at T = 1 (`hypernetwork`).

  Attributes:
    steps: of Adam, for finishing.
    hypernetwork_steps: of Adam, for the hypernetwork; 0: meta.steps + steps.
    tasks: drawn anew from the training classes at each step.
    queries: a class.
    feature_noise: sd of Gaussian noise on the features of support and queries, in units
      of their rms coordinate. Training classes lie further apart than unseen ones; noise
      makes their tasks as hard.
    feature_power: how much the singular values of a task's features are changed, by a
      power from its inverse to itself and numbers of a log-normal of its log; 1 is off.
      Features of other domains and encoders have others.
    temperature: τ of the weights whose query loss it is, and by which the best are kept.
    passes: of `generated_iterated`, which is trained on from what it generated the pass
      before, on the mean query loss of all passes.
    rate: peak rate for finishing; the hypernetwork takes meta.rate.
    warmup: share of the steps in which the rate rises.
    clip: largest norm of the gradient; 0 is off.
    ema: decay of the averaged score network.
    validate_every: steps between looks at the validation tasks.
    save_every: steps between checkpoints.
  """

  steps: int = 600
  hypernetwork_steps: int = 0
  tasks: int = 16
  queries: int = 15
  feature_noise: float = 0.5
  feature_power: float = 1.0
  temperature: float = 0.0
  passes: int = 3
  rate: float = 1e-3
  warmup: float = 0.05
  clip: float = 1.0
  ema: float = 0.98
  validate_every: int = 150
  save_every: int = 300

  def __post_init__(self):
    where = "config.finishing"
    for name in ("steps", "tasks", "queries", "passes", "validate_every", "save_every"):
      value = getattr(self, name)
      check(value >= 1, f"{where}.{name}", value, "give at least 1")
    for name in ("feature_noise", "clip"):
      value = getattr(self, name)
      check(value >= 0, f"{where}.{name}", value, "give at least 0; 0 is off")
    power = self.feature_power
    check(power >= 1, f"{where}.feature_power", power, "give at least 1; 1 is off")
    tau, remedy = self.temperature, "give a number from 0 to 1"
    check(0 <= tau <= 1, f"{where}.temperature", tau, remedy)
    steps, remedy = self.hypernetwork_steps, "give at least 0; 0 is meta.steps + steps"
    check(steps >= 0, f"{where}.hypernetwork_steps", steps, remedy)
    check(self.rate > 0, f"{where}.rate", self.rate, "give a positive rate")
    check(0 <= self.warmup < 1, f"{where}.warmup", self.warmup, "give a share in [0, 1)")
    check(0 <= self.ema < 1, f"{where}.ema", self.ema, "give a decay in [0, 1)")


class QueryTask(NamedTuple):
  """A task, and the key of the weights that are generated for it."""

  task: Task
  key: Any


def query_loss(
  score: Params,
  generator: Generator,
  task: Task,
  key: Key[Array, ""],
  *,
  temperature: float = 0.0,
  passes: int = 1,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Mean loss of a task's queries under the weights that are generated from its support;
  and how good these are. x are embedded items [n, ...].

  Args:
    passes: as `compose.iterate` makes them, each from a start without a derivative: the
      loss is their mean, the quality that of the last.
  """
  generator = dataclasses.replace(generator, score=score)
  family, (x, y, mask) = generator.spec.family, task.query
  settings = {"temperature": temperature, "ways": family.largest.ways}

  def scored(params: Params) -> tuple[Array, Array]:
    output = family.apply(generator.frozen, params, x)
    quality = family.quality(output, task.query)
    return mean_over_items(family.loss(output, y), mask), quality

  def again(params: Params, n: Any) -> tuple[Params, tuple[Array, Array]]:
    start, own = jax.lax.stop_gradient(params), key_of_pass(key, n)
    params = generator.sampled_from(start, task.support, own, **settings)
    return params, scored(params)

  params = generate_from_features(generator, task.support, key, **settings)
  loss, quality = scored(params)
  if passes == 1:
    return loss, quality
  _, (losses, qualities) = jax.lax.scan(again, params, jnp.arange(1, passes))
  return (loss + losses.sum()) / passes, qualities[-1]


def noisy_task(
  key: Key[Array, ""],
  items: Any,
  family: TaskFamily,
  protocol: Protocol,
  noise: float,
  form: Form | None = None,
) -> Task:
  """A task of the training split, with noise on its items."""
  k_task, k_support, k_query = jax.random.split(key, 3)
  support, query = family.sample(k_task, items, protocol, form=form)
  if not noise:  # drawing it would take longer than the step, where items are many
    return Task(support, query)
  return Task(
    support._replace(x=family.perturb(k_support, support.x, noise)),
    query._replace(x=family.perturb(k_query, query.x, noise)),
  )


def finishing(
  config: FinishingConfig, *, steps: int, rate: float, passes: int = 1
) -> Training:
  """The query loss, averaged over tasks. The metrics are `loss`, the family's own on
  the training queries, such as `accuracy` in percent, and `gradient` (its norm)."""

  def draw(
    key: Key[Array, ""], source: TaskSource, generator: Generator, form: Any
  ) -> QueryTask:
    family, counted = generator.spec.family, source.form(form)
    protocol = Protocol(*family.largest, config.queries)
    items = source.items if source.query_items is None else source.query_items

    def one(key: Key[Array, ""]) -> QueryTask:
      k_task, k_sample = jax.random.split(key)
      noise, power = config.feature_noise, config.feature_power
      task = noisy_task(k_task, items, family, protocol, noise, counted)
      if not config.temperature:  # the chain's noise would depend on the dimensions
        task = family.compact(task)
      if power > 1:
        task = family.varied(jax.random.fold_in(key, 2), task, power)
      return QueryTask(task, k_sample)

    return jax.vmap(one)(jax.random.split(key, config.tasks))

  def gradient(
    score: Params, generator: Generator, batch: QueryTask, key: Key[Array, ""]
  ) -> tuple[Params, dict[str, Array]]:
    family = generator.spec.family

    settings = {"temperature": config.temperature, "passes": passes}

    def loss(p: Params, q: QueryTask, _: Any) -> Any:
      return query_loss(p, generator, q.task, q.key, **settings)

    mean = mean_gradient_by_platform if family.one_by_one else mean_gradient
    found, (losses, quality) = mean(loss, score, batch, key)
    metric = family.metric
    return found, {"loss": losses.mean(), metric.name: metric.scale * quality.mean()}

  optimiser = adam(rate, steps=steps, warmup=config.warmup, clip=config.clip)
  return outer_training(draw, gradient, optimiser, config.ema)
