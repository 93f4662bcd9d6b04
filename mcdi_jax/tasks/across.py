"""Tasks across domains: a support of some domains, queries of another one.

What leave-one-domain-out asks of a classifier (Li et al. 2017; Gulrajani & Lopez-Paz 2021),
as a task to train on: its queries are of a domain that none of its labelled items is of.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.tasks.few_shot import (
  Form,
  Protocol,
  Query,
  Support,
  Task,
  draw_places,
  present,
  take_places,
)


def sample_across(
  key: Key[Array, ""],
  items: ClassSet,
  classes: Int[Array, " N"],
  protocol: Protocol,
  sources: int,
  *,
  form: Form | None = None,
) -> Task:
  """Queries are of these classes, which are of one group; the support is of the same
  classes in `sources` other groups, drawn for the task, in turn and beginning with any.

  Args:
    items: with `twins`; for each class at least that many groups beside its own have it.
    form: as in `sample_support`.
  """
  k_groups, k_first, k_support, k_query = jax.random.split(key, 4)
  twins = items.twins[classes]
  numbers = jnp.arange(twins.shape[1])
  there = (twins >= 0).all(0) & (numbers != items.group[classes[0]])
  luck = jax.random.uniform(k_groups, numbers.shape)
  chosen = jax.lax.top_k(jnp.where(there, luck, -1.0), sources)[1]
  rows = twins[:, chosen]  # [N, m]
  shots = protocol.shots
  draw = lambda k, row: draw_places(k, items, row, shots)  # noqa: E731
  of_group = jax.vmap(draw)(jax.random.split(k_support, sources), rows.T)  # [m, N, K]
  first = jax.random.randint(k_first, (len(classes), 1), 0, sources)
  turn = (first + jnp.arange(shots)) % sources  # [N, K]
  places = jnp.take_along_axis(of_group, turn[None], axis=0)[0]
  enough = items.count[jnp.take_along_axis(rows, turn, axis=1)] > jnp.arange(shots)
  ways, counted = form or (protocol.ways, shots)
  in_task = (jnp.arange(len(classes)) < ways)[:, None]
  in_support = enough & in_task & (jnp.arange(shots) < counted)
  asked = draw_places(k_query, items, classes, protocol.queries)
  in_query = present(items, classes, 0, protocol.queries, ways)
  return Task(
    Support(*take_places(items, places, in_support)),
    Query(*take_places(items, asked, in_query)),
  )
