"""What a generator is apart from its arrays, and what its score network is given."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator.equivariant import EquivariantNetwork
from mcdi_jax.generator.resolvents import resolvents
from mcdi_jax.generator.score import ScoreConfig
from mcdi_jax.generator.tokens import TokenNetwork
from mcdi_jax.generator.transformer import TokenTransformer
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support
from mcdi_jax.weights import WeightSpace

SCORE_NETWORKS = {
  "equivariant": EquivariantNetwork,
  "transformer": TokenTransformer,
  "tokens": TokenNetwork,
}


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
  """What a generator is, apart from its arrays; hashable, and JSON on disk.

  Attributes:
    score, diffusion: as it was trained.
    family: the tasks, and the network that weights are generated for.
    base: that generated tokens are a difference from: θ_0 (`init`), or what the family
      makes of the support (`prototypes`, `ridge`, `ridge_loo`, `renormalised`).
    matmul_precision: of float32 matmuls, as it was trained and tested; generated and
      applied with, too.
    precondition: ε of the weight space's preconditioning; 0: there is none.
  """

  score: ScoreConfig
  diffusion: DiffusionConfig
  family: TaskFamily
  base: Literal["none", "init", "prototypes", "ridge", "ridge_loo", "renormalised"] = "none"
  matmul_precision: Literal["highest", "high", "default"] = "highest"
  precondition: float = 0.0

  def score_network(self, own: int) -> nn.Module:
    """own: tokens that belong to no class."""
    return SCORE_NETWORKS[self.score.network](self.score, own)


def score_inputs(
  spec: GeneratorSpec,
  frozen: Params,
  space: WeightSpace,
  support: Support,
  ways: int,
  *,
  at: Params | None = None,
) -> tuple[Any, Bool[Array, " N"]]:
  """What the score network's `encode` is given, and which classes there are."""
  inputs, present = spec.family.condition(frozen, support, ways)
  if spec.score.ridge:
    inputs = (*inputs, resolvents(*inputs, spec.score.ridge))
  if not (spec.score.gradient or spec.score.facts):
    return inputs, present
  family, gradient, facts, position = spec.family, None, None, None
  if spec.score.position:
    base = family.base(frozen, spec.base, support, ways)
    tokens = jnp.zeros((space.rows(len(present)), space.width))
    position = tokens if at is None else space.encode(at, base, present)
  if spec.score.gradient:
    at = family.gradient_at(frozen, support, ways) if at is None else at
    at = family.without_absent(at, present)
    gradient = support_gradient(family, frozen, space, support, at, present)
  if spec.score.facts:
    own = family.facts(frozen, support, ways)
    facts = space.dual.encode(own, None, present)
  mask = () if len(inputs) > 2 else (None,)
  return (*inputs, *mask, gradient, facts, position), present


def support_gradient(
  family: TaskFamily,
  frozen: Params,
  space: WeightSpace,
  support: Support,
  at: Params,
  present: Bool[Array, " N"],
) -> Float[Array, "S W"]:
  """Of the support's mean loss at these params, as tokens; each leaf of rms 1 within the
  task."""

  loss = lambda params: family.support_loss(frozen, params, support)  # noqa: E731
  gradient, dual = jax.grad(loss)(at), space.dual
  rms = dual.leaf_rms(dual.encode(gradient, None, present), present)
  scaled = dataclasses.replace(dual, scale=jnp.maximum(rms, 1e-12))
  return scaled.encode(gradient, None, present)


def init_score(
  spec: GeneratorSpec,
  frozen: Params,
  space: WeightSpace,
  support: Support,
  key: Key[Array, ""],
) -> Params:
  """Fresh params of the score network.

  Args:
    support: of two classes, or of a task without any; for its shape alone.
  """
  inputs, present = score_inputs(spec, frozen, space, support, 2)
  tokens = jnp.zeros((space.rows(len(present)), space.width))
  network = spec.score_network(space.rows(0))
  return network.init(key, inputs, present, tokens, 0.0)["params"]
