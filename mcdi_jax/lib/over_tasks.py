"""One function for many tasks, in the order that is fastest on the platform."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcdi_jax.lib.provenance import platform_used


def over_tasks(
  fn: Callable[..., Any], *arguments: Any, most: int = 0, one_by_one: bool = True
) -> Any:
  """`vmap(fn)`, which fills an accelerator. On CPU one task follows the other, so that what
  a task has of its own stays in cache. It is chosen when it is traced, of the device that
  is used: what is to be exported has `jax.lax.platform_dependent`, which traces both.

  Args:
    most: tasks at once, for memory; 0: all.
    one_by_one: False: at once on CPU, too, which is faster for small tasks.
  """

  def at_once(*arguments: Any) -> Any:
    number = jax.tree.leaves(arguments)[0].shape[0]
    if not most or most >= number:
      return jax.vmap(fn)(*arguments)
    whole = number // most * most
    first, rest = (
      jax.tree.map(operator.itemgetter(part), arguments)
      for part in (slice(whole), slice(whole, None))
    )
    # `jax.lax.map` has a `batch_size`, which ends at results with nothing in them.
    groups = jax.tree.map(lambda x: x.reshape(number // most, most, *x.shape[1:]), first)
    found = jax.lax.map(lambda own: jax.vmap(fn)(*own), groups)
    found = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), found)
    if whole == number:
      return found
    return jax.tree.map(lambda *p: jnp.concatenate(p), found, jax.vmap(fn)(*rest))

  def in_turn(*arguments: Any) -> Any:
    return jax.lax.map(lambda own: fn(*own), arguments)

  order = in_turn if one_by_one and platform_used() == "cpu" else at_once
  return order(*arguments)
