"""What a family of a user's own must keep to, checked before any work is done."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcdi_jax.families.family import TaskFamily
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Form, Protocol, Task
from mcdi_jax.weights import leaves_by_path, weight_space
from mcdi_jax.weights.layers import identity_roots

_LARGEST_CONSTANT = 64  # numbers in an array that functions may hold


def check_family(family: TaskFamily, sets: dict[str, Any], protocol: Protocol) -> None:
  """Runs on shapes alone.

  Args:
    sets: items by the name of their split.

  Raises:
    InputError: a task that is not of integers, `examples` without a `form`, no θ_0 in
      `init_frozen`, a loss that is not one number an item, a condition that is none or
      whose shape is another from set to set, or an array that the family's functions hold
      instead of being given it.
  """
  name, key = type(family).__name__, jax.random.key(0)
  try:
    hash(family)
  except TypeError as error:
    raise InputError(
      f"{name} cannot be hashed ({error}): its fields must be numbers, strings and tuples"
    ) from None
  frozen = jax.eval_shape(family.init_frozen, key)
  if type(family).init is TaskFamily.init and "init" not in frozen:
    raise InputError(
      f"{name}.init_frozen gives no θ_0: let it return {{**super().init_frozen(key), ...}} "
      "or say what `init` is"
    )
  shapes = {}
  for split, items in sets.items():
    task = jax.eval_shape(lambda k, x: family.draw_task(k, x, protocol.ways), key, items)
    for leaf in jax.tree.leaves(task):
      if not jnp.issubdtype(leaf.dtype, jnp.integer):
        raise InputError(f"{name}.draw_task gives {leaf.dtype}: a task is of integers")
    support, query = _examples(family, key, items, task, protocol)
    embedded = lambda f, s: s._replace(x=family.embed(f, s.x))  # noqa: E731
    shapes[split] = jax.eval_shape(embedded, frozen, support)
  _check_conditions(family, frozen, shapes, protocol)
  _check_loss(family, frozen, support, query, protocol)


def check_cuts(family: TaskFamily, params: Any) -> None:
  """That `cuts` say of every leaf how it becomes tokens; on shapes alone.

  Args:
    params: shapes of the params of one task.

  Raises:
    InputError: a pattern that fits no leaf or cannot cut it, or a leaf that none fits.
  """
  space = jax.eval_shape(lambda params: weight_space(params, family.cuts), params)
  left = sorted({*leaves_by_path(params)} - {leaf.path for leaf in space.leaves})
  if left:
    raise InputError(
      f"no pattern of {type(family).__name__}.cuts, {list(family.cuts)}, fits the leaves "
      f"{left}: all that `init` gives is generated, what is not belongs to init_frozen"
    )


def check_layers(family: TaskFamily, params: Any) -> None:
  """That `layer_inputs` gives what `layers` take; on shapes alone.

  Args:
    params: shapes of the params of one task.

  Raises:
    InputError: no or not as many inputs, or of another width; a layer of no leaf.
  """
  name, key = type(family).__name__, jax.random.key(0)
  expected = [len(own.root) for own in jax.eval_shape(_roots(family), params)]
  if type(family).layer_inputs is TaskFamily.layer_inputs:
    raise InputError(f"{name} names layers: say what each is given, as layer_inputs")

  def inputs(key: Any) -> Any:
    frozen = family.init_frozen(key)
    support = family.example(family.largest)
    support = support._replace(x=family.embed(frozen, support.x))
    return family.layer_inputs(frozen, support)

  shapes = [given.shape for given in jax.eval_shape(inputs, key)]
  biases = [bool(layer.bias) for layer in family.layers]
  wanted = [width - bias for width, bias in zip(expected, biases, strict=True)]
  if [shape[2:] for shape in shapes] != [(width,) for width in wanted]:
    raise InputError(
      f"{name}.layer_inputs gives shapes {shapes}: give [items, places, inputs] for each "
      f"of {len(wanted)} layers, of {wanted} inputs"
    )


def _roots(family: TaskFamily) -> Callable[[Any], Any]:
  return lambda params: identity_roots(params, family.layers)


def _examples(
  family: TaskFamily, key: Any, items: Any, task: Any, protocol: Protocol
) -> Task:
  """Shapes of a support and queries, asked for as training does."""
  try:
    inspect.signature(family.examples).bind(key, items, task, protocol, form=None)
  except TypeError as error:
    raise InputError(
      f"{type(family).__name__}.examples cannot be called as training does ({error}): take "
      "(self, key, items, task, protocol, *, form=None)"
    ) from None
  form = Form(protocol.ways, protocol.shots)
  examples = lambda k, x, t: family.examples(k, x, t, protocol, form=form)  # noqa: E731
  return jax.eval_shape(examples, key, items, task)


def _check_conditions(
  family: TaskFamily, frozen: Any, supports: dict[str, Any], protocol: Protocol
) -> None:
  name = type(family).__name__
  condition = lambda f, s: family.condition(f, s, protocol.ways)  # noqa: E731
  said = {split: _traced(name, condition, frozen, s) for split, s in supports.items()}
  for one in said.values():
    two = isinstance(one, tuple) and len(one) == 2
    if not two or (str(getattr(one[1], "dtype", "")), one[1].ndim) != ("bool", 1):
      raise InputError(
        f"{name}.condition gives {one}: give what the score network's `encode` takes, and "
        "a bool for each class; for the network `tokens` ((tokens [n, a], zeros [n, 0], "
        "mask [n]), ones(0, bool))"
      )
  found = {
    split: jax.tree.map(lambda leaf: leaf.shape, shapes) for split, shapes in said.items()
  }
  if len({str(shape) for shape in found.values()}) > 1:
    raise InputError(
      f"{name}.condition has another shape from set to set, {found}: make it one"
    )


def _check_loss(
  family: TaskFamily, frozen: Any, support: Any, query: Any, protocol: Protocol
) -> None:
  name = type(family).__name__

  def losses(frozen: Any, key: Any, support: Any, query: Any) -> Any:
    x = family.embed(frozen, query.x)
    params = family.init(frozen, key, family.embed(frozen, support.x), protocol.ways)
    return family.loss(family.apply(frozen, params, x), query.y)

  found = _traced(name, losses, frozen, jax.random.key(0), support, query)
  number = len(query.x)
  if found.shape != (number,):
    raise InputError(
      f"{name}.loss gives shape {found.shape} for {number} items: give one number an item, "
      "unreduced"
    )


def _traced(name: str, fn: Callable[..., Any], *arguments: Any) -> Any:
  """The shapes that `fn` gives; no array may come from elsewhere than its arguments."""
  jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*arguments)
  for constant in jaxpr.consts:
    if jnp.size(constant) > _LARGEST_CONSTANT:
      raise InputError(
        f"{name} holds an array of shape {jnp.shape(constant)}: give it as part of the "
        "items or of init_frozen, or it is compiled into everything and has no gradient"
      )
  return shapes
