"""n plain gradient steps on the support from some start, generated weights among them: what
a start is worth, each n with a rate of its own."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator, descended, generate_from_features
from mcdi_jax.methods.descent import network_outputs
from mcdi_jax.methods.method import Method, Tunable
from mcdi_jax.methods.space import LogUniform, Space
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Support

_SPACE: Space = {"rate": LogUniform(1e-3, 100.0)}


def refined(start: str, steps: int) -> Tunable:
  """`refined_START_n`, made from settings and a generator, which knows the family.

  Args:
    start: a base of the family, such as `init` or `prototypes`; or the generator's name.
    steps: n, static.
  """
  name = f"refined_{start}_{steps}"

  def make(settings: dict[str, Any], generator: Generator) -> Method:
    variables = {"frozen": generator.frozen, "rate": jnp.float32(settings["rate"])}
    if start not in generator.family.bases:
      variables["generator"] = generator
    functions = _functions(generator.family, start, steps)
    told = {"start": start, "steps": steps, **settings}
    return Method(name, *functions, variables, told)

  return Tunable(name, make, _SPACE)


@functools.cache
def _functions(family: TaskFamily, start: str, steps: int) -> tuple[Any, Any]:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    frozen, rate = variables["frozen"], variables["rate"]
    if start in family.bases:
      params = family.base(frozen, start, support, ways)
    else:
      params = generate_from_features(variables["generator"], support, key, ways=ways)

    loss = lambda params: family.support_loss(frozen, params, support)  # noqa: E731
    params = descended(loss, params, rate=rate, steps=steps)
    return family.settled(frozen, params, support)

  return adapt, network_outputs(family)
