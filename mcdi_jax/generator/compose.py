"""Models made of models. What comes out is a model again, so compositions nest; each is a
pytree and pure, under `jit`, `vmap` and `grad` like the generators in it.

  better = refine(ensemble(load_generator("omniglot-5way"), samples=8), steps=5, rate=0.1)
  params = generate(better, support, key, temperature=0.3, ways=5)
  logits = better.network.apply(params, images)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.generator.condition import Condition
from mcdi_jax.generator.generator import Generator
from mcdi_jax.generator.model import Model
from mcdi_jax.lib.config import finite, whole
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.keys import key_of_pass
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support, mean_over_items


def refine(model: Model, *, steps: Any, rate: Any) -> Model:
  """The model's weights, after plain gradient steps on the loss of the support.

  Args:
    steps: how many, static.
    rate: of the steps; may be traced.

  Raises:
    InputError: no model, no whole number of steps, or a rate that is not finite.
  """
  steps = whole("steps", steps, least=0)
  finite("rate", rate)
  _check_models(model)
  return Refined(model, rate, steps)


def ensemble(*models: Model, samples: Any = 1) -> Model:
  """Several models for one family of tasks, or several samples of one: their outputs are
  averaged as the family does it, such as probabilities. The params are all of theirs.

  Args:
    samples: of each model, static; they differ where the temperature is above 0.

  Raises:
    InputError: no model, no whole number of samples, or models of different item shapes or
      matmul precisions.
  """
  samples = whole("samples", samples, least=1)
  _check_models(*models)
  if not models:
    raise InputError("an ensemble of no models: give at least one")
  for what, found in (
    ("item shapes", [model.family.item_shape for model in models]),
    ("matmul precisions", [model.matmul_precision for model in models]),
  ):
    if len(set(found)) > 1:
      raise InputError(
        f"the models of an ensemble have different {what}, {found}: give some of one kind"
      )
  return Ensemble(models, samples)


def guide(generator: Any, strength: Any) -> Model:
  """Classifier-free guidance (Ho & Salimans 2022): at each step of the chain the output is
  u + strength · (c − u), with c that of the condition and u that without one.

  Args:
    generator: trained with `config.meta.drop_condition` above 0; another's output without
      a condition has no meaning.
    strength: 1 is the generator as it is, 0 leaves the condition out; may be traced.

  Raises:
    InputError: no generator, or a strength that is not finite; compositions can be made
      of what is returned.
  """
  if not isinstance(generator, Generator):
    raise InputError(
      f"{type(generator).__name__} is no generator: guide one first, then compose it"
    )
  finite("strength", strength)
  return Guided(generator, strength)


def iterate(generator: Any, times: Any) -> Model:
  """Generates again from what was generated: each time the gradient of the support's loss,
  which is part of the condition, is taken at the weights of the time before, and what is
  generated is the change from there, where it is a difference from a base.

  Args:
    generator: trained with `config.score.gradient`; `generated_iterated` is trained for
      this. Others know gradients only where the family takes them.
    times: how often, static; 1 is the generator as it is.

  Raises:
    InputError: no generator, one whose condition does not depend on weights, or no whole
      number of times.
  """
  times = whole("times", times, least=1)
  if not isinstance(generator, Generator):
    raise InputError(
      f"{type(generator).__name__} is no generator: iterate one first, then compose it"
    )
  if not generator.spec.score.gradient:
    raise InputError(
      "the generator's condition does not depend on weights: train one with "
      "config.score.gradient"
    )
  return Iterated(generator, times)


def _check_models(*models: Any) -> None:
  for model in models:
    if not isinstance(model, Model):
      raise InputError(
        f"{type(model).__name__} is no model: give what load_generator returns, or what is "
        "composed of it"
      )


def descended(
  loss: Callable[[Params], Array], params: Params, *, rate: Any, steps: int
) -> Params:
  """After plain gradient steps; each leaf keeps its dtype."""

  def step(params: Params, _: None) -> tuple[Params, None]:
    down = lambda p, g: (p - rate * g).astype(p.dtype)  # noqa: E731
    return jax.tree.map(down, params, jax.grad(loss)(params)), None

  return jax.lax.scan(step, params, None, length=steps)[0]


def support_loss(model: Model, params: Params, support: Support) -> Float[Array, ""]:
  """The mean loss of the items that count; support.x is what `embed` gives."""
  output = model.fitted(params, support)
  return mean_over_items(model.family.loss(output, support.y), support.mask)


class _Around(Model):
  """One model's network, with other weights for it."""

  model: Any

  @property
  def family(self) -> TaskFamily:
    return self.model.family

  @property
  def matmul_precision(self) -> str:
    return self.model.matmul_precision

  def embed(self, x: Array) -> Any:
    return self.model.embed(x)

  def outputs(self, params: Params, features: Any) -> Array:
    return self.model.outputs(params, features)

  def fitted(self, params: Params, support: Support) -> Array:
    return self.model.fitted(params, support)

  def settled(self, params: Params, support: Support) -> Params:
    return self.model.settled(params, support)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Refined(_Around):
  """See `refine`."""

  model: Any
  rate: Any
  steps: int = dataclasses.field(metadata={"static": True})

  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    settings = {"temperature": temperature, "ways": ways}
    params = self.model.from_features(support, key, **settings)
    loss = lambda params: support_loss(self.model, params, support)  # noqa: E731
    params = descended(loss, params, rate=self.rate, steps=self.steps)
    return self.settled(params, support)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ensemble(Model):
  """See `ensemble`. Params: a tuple with an entry a model, leading axis `samples`."""

  models: tuple[Any, ...]
  samples: int = dataclasses.field(metadata={"static": True})

  @property
  def family(self) -> TaskFamily:
    return self.models[0].family

  @property
  def matmul_precision(self) -> str:
    return self.models[0].matmul_precision

  def embed(self, x: Array) -> tuple[Any, ...]:
    return tuple(model.embed(x) for model in self.models)

  def outputs(self, params: Params, features: Any) -> Array:
    return self._average(params, features, lambda model, own, x: model.outputs(own, x))

  def fitted(self, params: Params, support: Support) -> Array:
    own_items = lambda model, own, x: model.fitted(own, support._replace(x=x))  # noqa: E731
    return self._average(params, support.x, own_items)

  def settled(self, params: Params, support: Support) -> Params:
    found = []
    for model, own, x in zip(self.models, params, support.x, strict=True):
      settle = functools.partial(model.settled, support=support._replace(x=x))
      found.append(jax.vmap(settle)(own))
    return tuple(found)

  def _average(self, params: Params, features: Any, outputs: Callable[..., Array]) -> Array:
    each = [
      jax.vmap(outputs, in_axes=(None, 0, None))(model, own, x)
      for model, own, x in zip(self.models, params, features, strict=True)
    ]
    return self.family.average(jnp.concatenate(each))

  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    found = []
    for n, model in enumerate(self.models):
      own = support._replace(x=support.x[n])
      keys = jax.random.split(jax.random.fold_in(key, n), self.samples)

      def sample(key: Any, model: Model = model, own: Support = own) -> Params:
        return model.from_features(own, key, temperature=temperature, ways=ways)

      found.append(jax.vmap(sample)(keys))
    return tuple(found)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Guided(_Around):
  """See `guide`."""

  model: Generator
  strength: Any

  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    model = self.model.of_items(support.x.shape[1:])
    condition = model.condition(support, ways)

    def predict(condition: Condition, x: Array, t: Any) -> Array:
      known = model.predict(condition, x, t)
      unknown = model.predict(condition.dropped(), x, t)
      return unknown + self.strength * (known - unknown)

    settings = {"temperature": temperature, "predict": predict}
    tokens, _ = model.sample(condition, key, **settings)
    return model.decode(tokens, condition, support)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Iterated(_Around):
  """See `iterate`."""

  model: Generator
  times: int = dataclasses.field(metadata={"static": True})

  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    model = self.model.of_items(support.x.shape[1:])
    settings = {"temperature": temperature, "ways": ways}

    def again(n: Any, params: Params) -> Params:
      return model.sampled_from(params, support, key_of_pass(key, n), **settings)

    # A loop, so that more passes take no longer to compile.
    first = model.sampled(support, key, **settings)
    return jax.lax.fori_loop(1, self.times, again, first) if self.times > 1 else first
