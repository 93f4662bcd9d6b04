"""The `Generator` pytree: everything that turns a support into weights."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Shaped

from mcdi_jax.diffusion import (
  FORMS,
  SAMPLERS,
  Chain,
  Schedule,
  chain,
  make_segments,
  sample_chain,
)
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator.condition import Condition, Given
from mcdi_jax.generator.model import Model
from mcdi_jax.generator.specification import GeneratorSpec, score_inputs
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support
from mcdi_jax.weights import WeightSpace, weight_space


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generator(Model):
  """A pytree: `jit`, `vmap`, `grad` and checkpoints treat it as any other value.

  Attributes:
    score: params of the score network.
    frozen: params of the network that are the same for all tasks.
    space: how generated params are tokens; its scale is a leaf.
    schedule: α_t.
    spec: static.
  """

  score: Params
  frozen: Params
  space: WeightSpace
  schedule: Schedule
  spec: GeneratorSpec = dataclasses.field(metadata={"static": True})

  @property
  def family(self) -> TaskFamily:
    return self.spec.family

  @property
  def matmul_precision(self) -> str:
    return self.spec.matmul_precision

  def embed(self, x: Shaped[Array, "n ..."]) -> Shaped[Array, "n ..."]:
    return self.family.embed(self.frozen, x)

  def outputs(self, params: Params, features: Shaped[Array, "n ..."]) -> Array:
    return self.family.apply(self.frozen, params, features)

  def fitted(self, params: Params, support: Support) -> Array:
    return self.family.fitted(self.frozen, params, support)

  def settled(self, params: Params, support: Support) -> Params:
    return self.family.settled(self.frozen, params, support)

  def merge(self, params: Params) -> Params:
    """The full tree: generated leaves and frozen ones."""
    return self.family.merge(self.frozen, params)

  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    own = self.of_items(support.x.shape[1:])
    still = isinstance(temperature, int | float) and not temperature
    if still and own.family.is_wide(support):
      return _still(own, support, ways)
    return own.sampled(support, key, temperature=temperature, ways=ways)

  def sampled(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    """Condition, chain and weights, for items of the shape that this one is for."""
    return self.sampled_from(None, support, key, temperature=temperature, ways=ways)

  def sampled_from(
    self,
    at: Params | None,
    support: Support,
    key: Key[Array, ""],
    *,
    temperature: Any,
    ways: int,
  ) -> Params:
    """The same from params `at`, as `given` has them."""
    condition = self.condition(support, ways, at=at)
    tokens, _ = self.sample(condition, key, temperature=temperature)
    return self.decode(tokens, condition, support)

  def of_items(self, shape: tuple[int, ...]) -> "Generator":
    """The same for embedded items of another shape than it was trained on, if its family
    takes any: its leaves have that width, their scale stays."""
    family = self.family.of_items(shape)
    if family == self.family:
      return self
    ways = 2 if family.classifies else 1
    init = lambda key: family.init(self.frozen, key, jnp.zeros((1, *shape)), ways)  # noqa: E731
    params = jax.eval_shape(init, jax.random.key(0))
    space = weight_space(params, family.cuts, gauge=self.space.gauge)
    spec = dataclasses.replace(self.spec, family=family)
    space = dataclasses.replace(space, scale=self.space.scale)
    return dataclasses.replace(self, space=space, spec=spec)

  @property
  def score_network(self) -> nn.Module:
    return self.spec.score_network(self.space.rows(0))

  def chain(self) -> Chain:
    diffusion = self.spec.diffusion
    return chain(self.schedule, make_segments(diffusion.steps, diffusion.segments))

  def given(self, support: Support, ways: int, *, at: Params | None = None) -> Given:
    """What a support whose items the family has embedded says, whatever the score network's
    params are.

    Args:
      at: params at which its gradient is taken, and that tokens are a difference from where
        they are one from a base; None: where the family says, and the base.
    """
    parts = (self.spec, self.frozen, self.space)
    inputs, present = score_inputs(*parts, support, ways, at=at)
    base = self.family.base(self.frozen, self.spec.base, support, ways)
    return Given(inputs, base if at is None or base is None else at, present)

  def conditioned(self, given: Given) -> Condition:
    """What the score network makes of it."""
    apply = self.score_network.apply
    context = apply({"params": self.score}, *given.inputs, method="encode")
    return Condition(context, given.base, given.present)

  def condition(
    self, support: Support, ways: int, *, at: Params | None = None
  ) -> Condition:
    """Both, one after the other."""
    return self.conditioned(self.given(support, ways, at=at))

  def predict(self, condition: Condition, x: Float[Array, "S W"], t: Any) -> Array:
    """The score network's output at step t, in the gauge."""
    time = t / self.spec.diffusion.steps
    inputs = (condition.context, condition.present, x, time)
    out = self.score_network.apply({"params": self.score}, *inputs, method="denoise")
    return self.space.project(out, condition.present)

  def draw_noise(
    self, key: Key[Array, ""], present: Bool[Array, " N"]
  ) -> Float[Array, "S W"]:
    """Standard normal tokens, in the gauge. A class's noise depends on its row alone, and
    not on how many rows there are."""
    shape = (self.space.rows(len(present)), self.space.width)
    return self.space.project(jax.random.normal(key, shape), present)

  def encode(self, params: Params, task: Given | Condition) -> Float[Array, "S W"]:
    """The tokens of a task's params."""
    return self.space.encode(params, task.base, task.present)

  def decode(
    self, tokens: Float[Array, "S W"], condition: Condition, support: Support
  ) -> Params:
    """The params that tokens stand for, settled on the support."""
    params = self.space.decode(tokens, condition.base)
    params = self.family.without_absent(params, condition.present)
    return self.settled(params, support)

  def sample(
    self,
    condition: Condition,
    key: Key[Array, ""],
    *,
    temperature: Any,
    initial: Float[Array, "S W"] | None = None,
    predict: Callable[..., Array] | None = None,
  ) -> tuple[Float[Array, "S W"], Float[Array, "T S W"]]:
    """Tokens from noise in T steps, and the path there.

    Args:
      initial: in place of the noise that the chain starts from.
      predict: `predict(condition, x, t)` in place of this generator's.
    """
    predict = predict or self.predict
    k_initial, k_injected = jax.random.split(key)
    draw_noise = lambda k: self.draw_noise(k, condition.present)  # noqa: E731
    diffusion = self.spec.diffusion
    return sample_chain(
      SAMPLERS[diffusion.sampler_name],
      lambda x, t: predict(condition, x, t),
      draw_noise(k_initial) if initial is None else initial,
      k_injected,
      chain=self.chain(),
      form=FORMS[diffusion.form],
      draw_noise=draw_noise,
      temperature=temperature,
      ancestral=diffusion.ancestral,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _still(generator: Generator, support: Support, ways: int) -> Params:
  """What is generated at τ = 0, from a smaller support. That is in a basis, which has no
  derivative where items depend on each other: the derivative is that of the way without."""
  smaller, lifted = generator.family.inside(support)
  own = generator.of_items(smaller.x.shape[1:])
  return generator.settled(lifted(_still_as_given(own, smaller, ways)), support)


def _still_as_given(generator: Generator, support: Support, ways: int) -> Params:
  return generator.sampled(support, jax.random.key(0), temperature=0.0, ways=ways)


@_still.defjvp
def _still_tangent(ways: int, primals: Any, tangents: Any) -> tuple[Params, Params]:
  return jax.jvp(lambda g, s: _still_as_given(g, s, ways), primals, tangents)
