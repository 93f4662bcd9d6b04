"""One function for many tasks, in the order that is fastest on the platform."""

from collections.abc import Callable
from typing import Any

import jax

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
    return jax.lax.map(lambda own: fn(*own), arguments, batch_size=most)

  def in_turn(*arguments: Any) -> Any:
    return jax.lax.map(lambda own: fn(*own), arguments)

  order = in_turn if one_by_one and platform_used() == "cpu" else at_once
  return order(*arguments)
