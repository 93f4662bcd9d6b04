"""Controls: what a generator must be better than, if it reads its condition at all."""

import fnmatch
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import Generator
from mcdi_jax.methods.descent import network_outputs
from mcdi_jax.methods.generated import adapt as adapt_generated
from mcdi_jax.methods.generated import generate_from, kept
from mcdi_jax.methods.generated import predict as generated_outputs
from mcdi_jax.methods.method import Known, Method
from mcdi_jax.networks import Params
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Support
from mcdi_jax.weights import leaves_by_path, nested


def shuffled_condition(
  generator: Generator, temperature: float, supports: Support
) -> Method:
  """What is generated from the support of another task.

  Args:
    supports: of other tasks, of which one is drawn each time; leading axis of tasks.
  """
  variables = (generator, kept(temperature), supports)
  return Method(
    "shuffled_condition", _adapt_shuffled, _predict_shuffled, variables,
    {"temperature": temperature},
  )  # fmt: skip


def _adapt_shuffled(
  variables: tuple[Any, ...], support: Support, key: Key[Array, ""], ways: int
) -> Params:
  generator, temperature, supports = variables
  del support
  k_which, k_sample = jax.random.split(key)
  which = jax.random.randint(k_which, (), 0, len(supports.x))
  other = jax.tree.map(lambda leaf: leaf[which], supports)
  return generate_from(generator, temperature, other, k_sample, ways)


def shuffled_adapters(
  generator: Generator, temperature: float, supports: Support
) -> Method:
  """What is inside the encoder of another task's, as `shuffled_condition`, with the head
  that its own support makes in closed form: what is left without reading the condition."""
  variables = (generator, kept(temperature), supports)
  told = {"temperature": temperature}
  return Method(
    "shuffled_condition", _adapt_shuffled_inside, _predict_shuffled, variables, told
  )


def _adapt_shuffled_inside(
  variables: tuple[Any, ...], support: Support, key: Key[Array, ""], ways: int
) -> Params:
  generator, found = variables[0], _adapt_shuffled(variables, support, key, ways)
  own = {name: leaf for name, leaf in found.items() if name != "settled"}
  head = jax.tree.map(jnp.zeros_like, own["head"])
  return generator.settled({**own, "head": head}, support)


def _predict_shuffled(
  variables: tuple[Any, ...], params: Params, x: Shaped[Array, "m ..."]
) -> Array:
  return generated_outputs(variables[:2], params, x)


def generated_without(generator: Generator, temperature: float, pattern: str) -> Method:
  """`generated_without_PATTERN`: generated weights, but for the leaves of this pattern
  (`fnmatch`), which are the base's: what these are worth."""
  functions = (_without(generator.family, pattern), generated_outputs)
  variables = (generator, kept(temperature))
  told = {"temperature": temperature, "without": pattern}
  return Method(f"generated_without_{pattern}", *functions, variables, told)


@functools.cache
def _without(family: TaskFamily, pattern: str) -> Any:
  def adapt(
    variables: tuple[Any, ...], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    params, frozen = adapt_generated(variables, support, key, ways), variables[0].frozen
    base = family.base(frozen, variables[0].spec.base, support, ways)
    of_base = leaves_by_path(base)
    chosen = {path for path in of_base if fnmatch.fnmatchcase(path, pattern)}
    kept = {
      path: of_base[path] if path in chosen else leaf
      for path, leaf in leaves_by_path(params).items()
    }
    return family.settled(frozen, nested(kept), support)

  return adapt


def mean_of_bank(known: Known, bank: Bank) -> Method:
  """One and the same weights for all tasks: the mean of the bank's last targets."""
  mean = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, -1].mean(0), bank.weights)
  variables = {"frozen": known.frozen, "mean": mean}
  functions = (_mean(known.family), network_outputs(known.family))
  return Method("mean_of_bank", *functions, variables, {"tasks": bank.size})


@functools.cache
def _mean(family: TaskFamily) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    return family.settled(variables["frozen"], variables["mean"], support)

  return adapt


def nearest_of_bank(known: Known, bank: Bank, supports: Support, ways: int) -> Method:
  """The last target of the task of the bank whose support's condition is nearest.

  Args:
    supports: one of each task of the bank, as `embed` returns them; leading axis of tasks.
    ways: of the tasks.
  """
  describe = functools.partial(_described, known.family, known.frozen, ways)
  last = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, -1], bank.weights)
  given = jax.lax.map(describe, supports)
  squares = jnp.sum(given**2, -1)
  variables = {
    "frozen": known.frozen, "given": given, "squares": squares, "weights": last
  }  # fmt: skip
  functions = (_nearest(known.family), network_outputs(known.family))
  return Method("nearest_of_bank", *functions, variables, {"tasks": bank.size})


def _described(
  family: TaskFamily, frozen: Params, ways: int, support: Support
) -> Float[Array, " d"]:
  """What the condition says of the items, in their order."""
  inputs, _ = family.condition(frozen, support, ways)
  return jax.tree.leaves(inputs)[0].reshape(-1)


@functools.cache
def _nearest(family: TaskFamily) -> Any:
  def adapt(
    variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
  ) -> Params:
    own = _described(family, variables["frozen"], ways, support)
    nearest = jnp.argmin(variables["squares"] - 2 * variables["given"] @ own)
    weights = jax.tree.map(lambda leaf: leaf[nearest], variables["weights"])
    return family.settled(variables["frozen"], weights, support)

  return adapt
