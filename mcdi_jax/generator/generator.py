"""The `Generator` pytree: everything that turns a support into weights."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.diffusion import (
  FORMS,
  SAMPLERS,
  Chain,
  DiffusionConfig,
  Schedule,
  chain,
  make_segments,
)
from mcdi_jax.generator.equivariant import EquivariantNetwork
from mcdi_jax.generator.score import ScoreConfig
from mcdi_jax.generator.transformer import TokenTransformer
from mcdi_jax.networks import Network, backbone, prototype_head
from mcdi_jax.networks.head import apply_head
from mcdi_jax.weights import WeightSpace

Params = Any
SCORE_NETWORKS = {"transformer": TokenTransformer, "equivariant": EquivariantNetwork}


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
  """What a generator is, apart from its arrays; hashable, and JSON on disk.

  Attributes:
    score, diffusion: as it was trained.
    backbone_width: of the conv-4 under the head.
    image_shape: (h, w, c) of the images.
    base: `prototypes`: the generated tokens are a difference from the prototype head.
    ways, shots: forms of task that it was trained on.
  """

  score: ScoreConfig
  diffusion: DiffusionConfig
  backbone_width: int
  image_shape: tuple[int, ...]
  base: Literal["none", "prototypes"] = "none"
  ways: tuple[int, ...] = (5,)
  shots: tuple[int, ...] = (1,)

  @property
  def score_network(self) -> nn.Module:
    return SCORE_NETWORKS[self.score.network](self.score)

  @property
  def backbone(self) -> Network:
    return backbone(self.image_shape, self.backbone_width)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generator:
  """A pytree: `jit`, `vmap`, `grad` and checkpoints treat it as any other value.

  Attributes:
    score: params of the score network.
    backbone: params of the frozen network that a generated head stands on.
    space: how heads are tokens; its scale is a leaf.
    schedule: α_t.
    spec: static.
  """

  score: Params
  backbone: Params
  space: WeightSpace
  schedule: Schedule
  spec: GeneratorSpec = dataclasses.field(metadata={"static": True})

  @property
  def network(self) -> Network:
    """The downstream network with its frozen leaves bound: `network.apply(params, x)`
    takes generated params and images [n, h, w, c] in [0, 1] to logits [n, N]."""

    def apply(params: Params, x: Float[Array, "n h w c"]) -> Float[Array, "n N"]:
      return apply_head(params, self.spec.backbone.apply(self.backbone, x))

    def init(key: Key[Array, ""]) -> Params:
      del key
      raise TypeError("the weights of this network are generated: call mcdi_jax.generate")

    return Network(init, apply)

  def merge(self, params: Params) -> Params:
    """The full tree: generated leaves and frozen ones."""
    return {"backbone": self.backbone, **params}

  def chain(self) -> Chain:
    diffusion = self.spec.diffusion
    return chain(self.schedule, make_segments(diffusion.steps, diffusion.segments))

  def base(self, shots: Float[Array, "N K D"]) -> Params | None:
    """The head that tokens are a difference from; None if they are the head itself."""
    return prototype_head(shots) if self.spec.base == "prototypes" else None

  def condition(self, shots: Float[Array, "N K D"]) -> Any:
    """What the score network makes of the support, once a task. Features of norm 1 get
    coordinates of rms 1, as the tokens have."""
    network = self.spec.score_network
    scaled = shots * shots.shape[-1] ** 0.5
    return network.apply({"params": self.score}, scaled, method="encode")

  def predict(self, condition: Any, x: Float[Array, "N W"], t: Any) -> Array:
    """The score network's output at step t, in the gauge."""
    network = self.spec.score_network
    time = t / self.spec.diffusion.steps
    out = network.apply({"params": self.score}, condition, x, time, method="denoise")
    return self.space.project(out)

  def draw_noise(self, key: Key[Array, ""], ways: int) -> Float[Array, "N W"]:
    """Standard normal tokens, in the gauge."""
    return self.space.project(jax.random.normal(key, (ways, self.space.width)))

  def sample(
    self,
    shots: Float[Array, "N K D"],
    key: Key[Array, ""],
    *,
    temperature: Any,
    initial: Float[Array, "N W"] | None = None,
  ) -> tuple[Float[Array, "N W"], Float[Array, "T N W"]]:
    """Tokens from noise in T steps, and the path there; `initial` replaces the noise
    that the chain starts from."""
    ways = shots.shape[0]
    condition = self.condition(shots)
    k_initial, k_injected = jax.random.split(key)
    z = self.draw_noise(k_initial, ways) if initial is None else initial
    diffusion = self.spec.diffusion
    return SAMPLERS[diffusion.sampler_name](
      lambda x, t: self.predict(condition, x, t),
      z,
      k_injected,
      chain=self.chain(),
      form=FORMS[diffusion.form],
      draw_noise=lambda k: self.draw_noise(k, ways),
      temperature=temperature,
      ancestral=diffusion.ancestral,
    )


def init_score(spec: GeneratorSpec, feature_width: int, key: Key[Array, ""]) -> Params:
  """Fresh params of the score network."""
  shots = jnp.zeros((2, 1, feature_width))
  x = jnp.zeros((2, feature_width + 1))
  return spec.score_network.init(key, shots, x, 0.0)["params"]
