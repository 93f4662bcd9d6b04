"""What the score networks share: settings and the embedding of time.

A score network is a Linen module with two methods:
  `encode(x [n, D], member [n, N], ...) → context`, once a task: features, and 1 where item
    n counts and belongs to class c; some networks take more; and
  `denoise(context, present [N], tokens [S, W], time) → output [S, W]`, once a step, time =
    t/T in [0, 1). What it puts out for a class that is not present is of no meaning.
Of the two for heads S is N, and the first D columns of a token are the class's vector in
feature space, the others scalars.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mcdi_jax.lib.config import check
from mcdi_jax.tasks import class_means


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """The network that denoises weights.

  Attributes:
    network: `equivariant`: heads; turns with the feature space, whatever its width.
      `transformer`: heads; a token a class, no symmetry but that of the classes.
      `tokens`: weights of any kind.
    width: of a token; of the scalar channels.
    layers: blocks.
    heads: of the attention over classes.
    vectors: vector channels a class (`equivariant`).
    ridge: how many λ, from 0.03 to 3 times the features' mean squared norm, for operators
      λ (XᵀX + λI)⁻¹ of the support's features, of which each block mixes some by gates that
      it learns; 0: none (`equivariant`).
    chunk: tokens that attend at a time (`tokens`), which bounds the memory; 0: all.
    remat: whether blocks are computed anew in the backward pass, for memory (`tokens`).
    compute: dtype of the activations and products; params are float32 (`tokens`).
    gradient: whether each token is told its own part of the gradient of the support's
      loss, which costs one backward pass of the downstream network (`tokens`).
    descends: whether the output has a part along that gradient and along its softened
      signs, with rates that are learned for each place and from each token; else the
      gradient is seen through `width` numbers a token alone (`tokens`).
    position: whether each token is told, beside that gradient, where it was taken: how far
      from the base, in the unit of generated tokens, 0 where the family says where;
      `compose.iterate` takes it at weights that were generated before (`tokens`).
    facts: whether each token is told its own part of the family's `facts` of a support
      (`tokens`).
    summary: hidden units of what the items say together, of which each token that belongs
      to no class has a linear map of its own; in units of the width; 0: none (`tokens`).
  """

  network: Literal["equivariant", "transformer", "tokens"] = "equivariant"
  width: int = 64
  layers: int = 2
  heads: int = 4
  vectors: int = 8
  ridge: int = 0
  chunk: int = 0
  remat: bool = False
  compute: Literal["float32", "bfloat16"] = "float32"
  gradient: bool = False
  descends: bool = False
  position: bool = False
  facts: bool = False
  summary: int = 4

  def __post_init__(self):
    for name in ("width", "layers", "heads", "vectors"):
      value = getattr(self, name)
      check(value >= 1, f"config.score.{name}", value, "give at least 1")
    check(self.chunk >= 0, "config.score.chunk", self.chunk, "give at least 0; 0 is all")
    remedy = f"it must be a multiple of config.score.heads = {self.heads}"
    check(self.width % self.heads == 0, "config.score.width", self.width, remedy)
    check(self.summary >= 0, "config.score.summary", self.summary, "give at least 0")
    check(self.ridge >= 0, "config.score.ridge", self.ridge, "give at least 0; 0 is none")
    remedy = "of these networks only 'equivariant' has it, set it to 0"
    has = self.network == "equivariant" or not self.ridge
    check(has, "config.score.ridge", self.ridge, remedy)
    remedy = "of these networks only 'tokens' reads it, set it to False"
    for name in ("gradient", "descends", "position", "facts"):
      value = getattr(self, name)
      check(self.network == "tokens" or not value, f"config.score.{name}", value, remedy)
    remedy = "it needs config.score.gradient, set it to False"
    for name in ("descends", "position"):
      value = getattr(self, name)
      check(self.gradient or not value, f"config.score.{name}", value, remedy)


_OCTAVES = 6  # the fastest wave tells neighbouring steps apart up to T = 64


def time_features(time: Any) -> Float[Array, " F"]:
  """sin and cos of π 2^j time, j = 0 … 5; time = t/T in [0, 1)."""
  angles = time * jnp.pi * 2.0 ** jnp.arange(_OCTAVES)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class ScoreNetwork(nn.Module):
  """own: tokens that belong to no class."""

  config: ScoreConfig
  own: int = 0

  def __call__(
    self,
    inputs: tuple[Any, ...],
    present: Bool[Array, " N"],
    tokens: Float[Array, "S W"],
    time: Any,
  ) -> Float[Array, "S W"]:
    """Both methods, one after the other: for fresh params."""
    return self.denoise(self.encode(*inputs), present, tokens, time)


class Mlp(nn.Module):
  """Two layers with GELU between them."""

  hidden: int
  out: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Float[Array, "*n a"]) -> Float[Array, "*n b"]:
    out = nn.Dense(self.out, dtype=self.dtype)  # the first, as generators on disk name it
    return out(nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(x)))


class ClassStatistics(NamedTuple):
  """Of a support of features.

  Attributes:
    present: bool [N]; the classes that have an item.
    mean: [N, D] of each class; 0 for an absent one.
    task_mean: [D], over the classes, however many items they have.
    log_shots: [N]; log K; 0 for an absent class.
  """

  present: Any
  mean: Any
  task_mean: Any
  log_shots: Any


def class_statistics(
  x: Float[Array, "n D"], member: Float[Array, "n N"]
) -> ClassStatistics:
  number = member.sum(0)
  present, mean = number > 0, class_means(member, x)
  task_mean = mean.sum(0) / jnp.maximum(present.sum(), 1)
  return ClassStatistics(present, mean, task_mean, jnp.log(jnp.maximum(number, 1.0)))


def take_by_class(
  member: Float[Array, "n N"], rows: Float[Array, "N D"]
) -> Float[Array, "n D"]:
  """The row of each item's class; 0 for items that do not count."""
  return jnp.matmul(member, rows, precision="highest")
