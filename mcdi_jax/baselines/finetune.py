"""Gradient fine-tuning of the head on the support: what generation is to replace."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.baselines.method import Method
from mcdi_jax.networks import head
from mcdi_jax.preparation import trajectory
from mcdi_jax.tasks import Support

Optimiser = Literal["adamw", "sgd"]


@dataclasses.dataclass(frozen=True)
class FinetuneSettings:
  """Descent on the whole support.

  Attributes:
    optimiser: `adamw`, or `sgd` with decoupled decay.
    init_scale: of the Gaussian θ_0; 0: zeros.
    steps, rate, decay: of the optimiser.
    centred: on the features as they are; else with their mean added back, as the bare
      backbone gives them up to a factor: the same classifiers, another descent.
  """

  optimiser: Optimiser
  init_scale: float
  steps: int
  rate: float
  decay: float
  centred: bool = True


def finetune(settings: FinetuneSettings, feature_mean: Float[Array, " D"]) -> Method:
  """Minimises the support's mean cross-entropy from a random or zero head. Its name is
  `finetune` with AdamW, `finetune_sgd` with plain descent.

  Args:
    feature_mean: what standardisation took from the features, in their unit.
  """
  numbers = dataclasses.asdict(settings)
  variables = {name: numbers[name] for name in ("init_scale", "rate", "decay")}
  variables["offset"] = jnp.where(settings.centred, 0.0, feature_mean)
  name = "finetune" if settings.optimiser == "adamw" else f"finetune_{settings.optimiser}"
  return Method(name, _adapt_for(settings.optimiser, settings.steps), variables, numbers)


@functools.cache
def _adapt_for(optimiser: Optimiser, steps: int) -> Any:
  """One function for each number of steps, so that trials share compilations."""

  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    k_init, k_steps = jax.random.split(key)
    network = head(support.x.shape[-1], ways, scale=variables["init_scale"])
    rate, decay, offset = (variables[name] for name in ("rate", "decay", "offset"))

    def loss(params: Any, batch: Support) -> Float[Array, ""]:
      logits = network.apply(params, batch.x + offset)
      return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.y))

    path = trajectory(
      loss,
      network.init(k_init),
      lambda _: support,
      k_steps,
      optimiser={
        "adamw": optax.adamw(rate, weight_decay=decay),
        "sgd": optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate)),
      }[optimiser],
      record=(steps,),
    )
    kernel, bias = (path.weights["head"][name][-1] for name in ("kernel", "bias"))
    return {"head": {"kernel": kernel, "bias": bias + offset @ kernel}}

  return adapt


def finetune_trials(
  optimiser: Optimiser, number: int, feature_mean: Float[Array, " D"], seed: int = 0
) -> list[Method]:
  """Random settings to choose among on validation tasks."""
  rng = np.random.default_rng(seed)
  slowest, fastest = {"adamw": (-3, 0), "sgd": (-1, 2)}[optimiser]
  return [
    finetune(
      FinetuneSettings(
        optimiser=optimiser,
        init_scale=float(rng.choice([0.0, 0.01, 0.1])),
        steps=int(rng.choice([5, 10, 20, 50, 100])),
        rate=float(np.round(10 ** rng.uniform(slowest, fastest), 5)),
        decay=float(rng.choice([0.0, 0.001, 0.01, 0.1])),
        centred=bool(rng.choice([True, False])),
      ),
      feature_mean,
    )
    for _ in range(number)
  ]
