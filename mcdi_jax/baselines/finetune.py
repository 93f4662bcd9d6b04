"""Gradient fine-tuning of the head on the support: what generation is to replace."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.baselines.method import Method
from mcdi_jax.networks import head
from mcdi_jax.preparation import trajectory
from mcdi_jax.tasks import Support


@dataclasses.dataclass(frozen=True)
class FinetuneSettings:
  """AdamW on the whole support.

  Attributes:
    init_scale: of the Gaussian θ_0; 0: zeros.
    steps, rate, decay: of AdamW.
  """

  init_scale: float
  steps: int
  rate: float
  decay: float


def finetune(settings: FinetuneSettings) -> Method:
  """Minimises the support's mean cross-entropy from a random or zero head."""
  numbers = dataclasses.asdict(settings)
  variables = {name: n for name, n in numbers.items() if name != "steps"}
  return Method("finetune", _adapt_for(settings.steps), variables, numbers)


@functools.cache
def _adapt_for(steps: int) -> Any:
  """One function for each number of steps, so that trials share compilations."""

  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Any:
    k_init, k_steps = jax.random.split(key)
    network = head(support.x.shape[-1], ways, scale=variables["init_scale"])

    def loss(params: Any, batch: Support) -> Float[Array, ""]:
      logits = network.apply(params, batch.x)
      return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.y))

    path = trajectory(
      loss,
      network.init(k_init),
      lambda _: support,
      k_steps,
      optimiser=optax.adamw(variables["rate"], weight_decay=variables["decay"]),
      record=(steps,),
    )
    return jax.tree.map(lambda leaf: leaf[-1], path.weights)

  return adapt


def finetune_trials(number: int, seed: int = 0) -> list[Method]:
  """Random settings to choose among on validation tasks."""
  rng = np.random.default_rng(seed)
  return [
    finetune(
      FinetuneSettings(
        init_scale=float(rng.choice([0.0, 0.01, 0.1])),
        steps=int(rng.choice([5, 10, 20, 50, 100])),
        rate=float(np.round(10 ** rng.uniform(-3, 0), 5)),
        decay=float(rng.choice([0.0, 0.001, 0.01, 0.1])),
      )
    )
    for _ in range(number)
  ]
