"""The `Generator` pytree: everything that turns a support into weights."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mcdi_jax.diffusion import (
  FORMS,
  SAMPLERS,
  Chain,
  DiffusionConfig,
  Schedule,
  chain,
  make_segments,
)
from mcdi_jax.generator.condition import Condition
from mcdi_jax.generator.equivariant import EquivariantNetwork
from mcdi_jax.generator.score import ScoreConfig
from mcdi_jax.generator.transformer import TokenTransformer
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Network, backbone, prototype_head, without_absent
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Support, class_means, membership
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
    matmul_precision: of float32 matmuls, as it was trained and tested; generated and
      applied with, too.
  """

  score: ScoreConfig
  diffusion: DiffusionConfig
  backbone_width: int
  image_shape: tuple[int, ...]
  base: Literal["none", "prototypes"] = "none"
  ways: tuple[int, ...] = (5,)
  shots: tuple[int, ...] = (1,)
  matmul_precision: Literal["highest", "high", "default"] = "highest"

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
    takes generated params and images float [n, h, w, c] in [0, 1] to logits [n, N];
    n may be 0. Other shapes and dtypes raise `InputError`."""

    def apply(params: Params, x: Any) -> Float[Array, "n N"]:
      x = as_array("x", x)
      check_images("x", x, self.spec.image_shape)
      with jax.default_matmul_precision(self.spec.matmul_precision):
        return apply_head(params, self.spec.backbone.apply(self.backbone, jnp.asarray(x)))

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

  def condition(self, support: Support, ways: int) -> Condition:
    """What there is to know of a support of features, x float [n, D] of mean squared norm
    1: the score network gets coordinates of rms 1, as the tokens have."""
    member = membership(support, ways)
    x = jnp.where(member.any(1)[:, None], support.x, 0.0)  # the rest may hold anything
    scaled = x * x.shape[-1] ** 0.5
    network = self.spec.score_network
    context = network.apply({"params": self.score}, scaled, member, method="encode")
    prototypes = self.spec.base == "prototypes"
    base = prototype_head(class_means(member, x)) if prototypes else None
    return Condition(context, base, member.any(0))

  def predict(self, condition: Condition, x: Float[Array, "N W"], t: Any) -> Array:
    """The score network's output at step t, in the gauge."""
    time = t / self.spec.diffusion.steps
    inputs = (condition.context, condition.present, x, time)
    network = self.spec.score_network
    out = network.apply({"params": self.score}, *inputs, method="denoise")
    return self.space.project(out, condition.present)

  def draw_noise(
    self, key: Key[Array, ""], present: Bool[Array, " N"]
  ) -> Float[Array, "N W"]:
    """Standard normal tokens, in the gauge. A class's noise depends on its row alone, and
    not on how many rows there are."""
    shape = (len(present), self.space.width)
    return self.space.project(jax.random.normal(key, shape), present)

  def encode(self, params: Params, condition: Condition) -> Float[Array, "N W"]:
    """The tokens of a task's params."""
    return self.space.encode(params, condition.base, condition.present)

  def decode(self, tokens: Float[Array, "N W"], condition: Condition) -> Params:
    """The params that tokens stand for."""
    params = self.space.decode(tokens, condition.base)
    return without_absent(params, condition.present)

  def sample(
    self,
    condition: Condition,
    key: Key[Array, ""],
    *,
    temperature: Any,
    initial: Float[Array, "N W"] | None = None,
  ) -> tuple[Float[Array, "N W"], Float[Array, "T N W"]]:
    """Tokens from noise in T steps, and the path there; `initial` replaces the noise
    that the chain starts from."""
    k_initial, k_injected = jax.random.split(key)
    draw_noise = lambda k: self.draw_noise(k, condition.present)  # noqa: E731
    diffusion = self.spec.diffusion
    return SAMPLERS[diffusion.sampler_name](
      lambda x, t: self.predict(condition, x, t),
      draw_noise(k_initial) if initial is None else initial,
      k_injected,
      chain=self.chain(),
      form=FORMS[diffusion.form],
      draw_noise=draw_noise,
      temperature=temperature,
      ancestral=diffusion.ancestral,
    )


def as_array(name: str, x: Any) -> Any:
  """Lists and the like as numpy arrays; jax arrays, traced or not, as they are."""
  if x is None or isinstance(x, (jax.Array, np.ndarray)):
    return x
  try:
    found = np.asarray(x)
  except (ValueError, TypeError):
    found = np.asarray(None)
  if found.dtype == object:
    raise InputError(f"{name} is a {type(x).__name__} that makes no array")
  return found.astype(np.float32) if found.dtype == np.float64 else found


def check_images(name: str, x: Any, shape: tuple[int, ...]) -> None:
  """Raises `InputError` unless x is float [n, *shape]."""
  if jnp.ndim(x) != 4 or jnp.shape(x)[1:] != tuple(shape):
    raise InputError(
      f"{name} has shape {jnp.shape(x)}: this generator was trained for images "
      f"[n, {', '.join(map(str, shape))}], so resize them or train one for yours"
    )
  if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
    raise InputError(
      f"{name} is {jnp.result_type(x)}: give floats in [0, 1], such as x / 255"
    )


def init_score(spec: GeneratorSpec, feature_width: int, key: Key[Array, ""]) -> Params:
  """Fresh params of the score network."""
  features, member = jnp.zeros((2, feature_width)), jnp.eye(2)
  tokens = jnp.zeros((2, feature_width + 1))
  return spec.score_network.init(key, features, member, tokens, 0.0)["params"]
