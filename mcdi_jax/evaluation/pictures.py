"""What there is to see of a generator: its denoising chain, over the loss.

Everything is computed on a few tasks and comes back as named arrays; drawing them is the
report's business.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mcdi_jax.diffusion import FORMS
from mcdi_jax.generator import Condition, Generator
from mcdi_jax.lib.over_tasks import over_tasks
from mcdi_jax.preparation import PreparationConfig, prepare_task
from mcdi_jax.tasks import Form, Protocol, Query, Support

_TASKS = 64  # averaged along the chain
_AT_ONCE = 16
_CHAINS = 6  # in the plane; the first at τ = 0, the others at τ = 1
_GRID = 41


class PreparedTask(NamedTuple):
  """number: which task it is. support: of features. targets: tokens [k, S, W]."""

  number: Any
  support: Support
  targets: Any


def pictures(
  generator: Generator,
  preparation: PreparationConfig,
  form: Protocol,
  train: Any,
  test: Any,
  key: Key[Array, ""],
) -> dict[str, np.ndarray]:
  """Arrays for the report.

  Args:
    train, test: items, embedded, of classes that were trained on, and of unseen ones.

  Returns:
    `chain_error_{train,test}` [T]: rms error of the estimate θ̂_t against the local target
    of the segment that holds t. `chain_gap_{train,test}` [k−1]: how far segment i+1 starts
    from where it was trained, in units of the noise. `chain_boundaries` [k]. `plane_…`: see
    `_plane`.
  """
  found = _arrays(generator, train, test, key, preparation=preparation, form=form)
  return {name: np.asarray(array) for name, array in found.items()}


@functools.partial(jax.jit, static_argnames=("preparation", "form"))
def _arrays(
  generator: Generator,
  train: Any,
  test: Any,
  key: Key[Array, ""],
  *,
  preparation: PreparationConfig,
  form: Protocol,
) -> dict[str, Array]:
  """One program: piece by piece, most of the time would go into many small compilations."""
  k_chain, k_plane = jax.random.split(key)
  most, in_turn = _AT_ONCE, generator.family.one_by_one
  over = functools.partial(over_tasks, most=most, one_by_one=in_turn)
  keys = jax.random.split(k_chain, _TASKS // (4 if in_turn else 1))  # as each takes long
  prepare = functools.partial(_prepared, generator, preparation, form)
  tasks = [over(lambda k, s=items: prepare(s, k), keys) for items in (train, test)]
  together = jax.tree.map(lambda *parts: jnp.concatenate(parts), *tasks)  # traced once
  squares = over(lambda task: _along_chain(generator, task, form.ways), together)
  found = {"chain_boundaries": generator.chain().stop}
  for name, values in zip(("error", "gap"), squares, strict=True):
    for part, own in zip(("train", "test"), jnp.split(values, 2), strict=True):
      found[f"chain_{name}_{part}"] = jnp.sqrt(own.mean(0))
  k_items, k_walks = jax.random.split(k_plane)
  task = jax.tree.map(lambda leaf: leaf[0], tasks[1])
  number = form.shots + form.queries
  items = generator.family.support(k_items, test, task.number, number)
  return found | _plane(generator, task, items, form.ways, k_walks)


def _prepared(
  generator: Generator,
  preparation: PreparationConfig,
  form: Protocol,
  items: Any,
  key: Key[Array, ""],
) -> PreparedTask:
  """A task whose local targets are known: prepared as those of the bank are."""
  k_task, k_support = jax.random.split(key)
  family = generator.family
  number, path = prepare_task(
    k_task,
    family.versions(items),
    generator.frozen,
    family,
    preparation,
    form=Form(form.ways, form.shots),
    targets=generator.spec.diffusion.segments,
  )
  support = family.support(k_support, items, number, form.shots)
  condition = generator.condition(support, form.ways)
  encode = lambda params: generator.encode(params, condition)  # noqa: E731
  return PreparedTask(number, support, jax.vmap(encode)(path.weights))


def _along_chain(
  generator: Generator, task: PreparedTask, ways: int
) -> tuple[Float[Array, " T"], Float[Array, " b"]]:
  """Squared error and gap of a task's chain at τ = 0."""
  condition = generator.condition(task.support, ways)
  chain, estimates = generator.chain(), _estimates(generator, condition)
  error = _mean_square(generator, estimates - task.targets[chain.segment])
  handed_over = estimates[chain.stop[:-1] - 1]
  gap = _mean_square(generator, handed_over - task.targets[1:])
  return error, chain.handover_shift()[1:] ** 2 * gap


def _estimates(generator: Generator, condition: Condition) -> Float[Array, "T S W"]:
  """θ̂_t at every step of the chain at τ = 0, which no key has a part in."""
  chain = generator.chain()
  _, path = generator.sample(condition, jax.random.key(0), temperature=0.0)
  x = jnp.concatenate([jnp.zeros_like(path[:1]), path[:-1]])
  output = jax.vmap(lambda x, t: generator.predict(condition, x, t))(
    x, jnp.arange(chain.steps)
  )
  form = FORMS[generator.spec.diffusion.form]
  return jax.vmap(lambda o, x, own: form(o, x, own).theta)(output, x, chain.own())


def _mean_square(generator: Generator, tokens: Float[Array, "n S W"]) -> Float[Array, " n"]:
  """Over the free weights."""
  free = generator.space.free_weights(generator.space.ways(tokens))
  return jnp.sum(tokens**2, (1, 2)) / free


def _plane(
  generator: Generator,
  task: PreparedTask,
  items: Support,
  ways: int,
  key: Key[Array, ""],
) -> dict[str, Array]:
  """Inference chains of one unseen task over its loss (the paper's Figure 1).

  The plane goes through the origin, where the chain at τ = 0 starts, and the last target;
  its second direction is the one in which targets and that chain move most besides.

  Returns:
    `plane_x`, `plane_y` [G]: coordinates, in units of a token's rms. `plane_loss` [G, G]:
    loss of `items` of the task, rows along y. `plane_chains` [S, T+1, 2],
    projected. `plane_targets` [k, 2]. `plane_quality` [S]: the metric at each chain's end.
  """
  tokens_shape = task.targets.shape[1:]
  family, condition = generator.family, generator.condition(task.support, ways)
  unit = generator.space.free_weights(ways) ** 0.5
  temperature = jnp.where(jnp.arange(_CHAINS) == 0, 0.0, 1.0)

  def walk(key: Key[Array, ""], temperature: Any) -> Array:
    k_start, _ = jax.random.split(key)  # as `sample` draws its start
    start = temperature * generator.draw_noise(k_start, condition.present)
    _, path = generator.sample(condition, key, temperature=temperature)
    return jnp.concatenate([start[None], path])

  chains = jax.vmap(walk)(jax.random.split(key, _CHAINS), temperature)
  points = jnp.concatenate([task.targets, chains[0]]).reshape(-1, math.prod(tokens_shape))
  first = points[len(task.targets) - 1]
  first = first / jnp.linalg.norm(first)
  rest = points - (points @ first)[:, None] * first
  axes = jnp.stack([first, jnp.linalg.svd(rest, full_matrices=False)[2][0]])
  place = lambda tokens: tokens.reshape(*tokens.shape[:-2], -1) @ axes.T / unit  # noqa: E731
  targets, walked = place(task.targets), place(chains)

  def output(tokens: Array) -> Array:
    params = generator.decode(tokens.reshape(tokens_shape), condition, task.support)
    return family.apply(generator.frozen, params, items.x)

  def loss(at: Float[Array, "2"]) -> Array:
    return family.loss(output(unit * at @ axes), items.y).mean()

  seen = jnp.concatenate([targets, walked.reshape(-1, 2)])
  low, high = seen.min(0), seen.max(0)
  margin = 0.15 * (high - low).max()
  x, y = jnp.linspace(low - margin, high + margin, _GRID).T
  grid = jnp.stack(jnp.meshgrid(x, y), -1)

  scale = family.metric.scale
  quality = lambda tokens: scale * family.quality(output(tokens), Query(*items))  # noqa: E731
  return {
    "plane_x": x,
    "plane_y": y,
    "plane_loss": jax.lax.map(jax.vmap(loss), grid),
    "plane_chains": walked,
    "plane_targets": targets,
    "plane_quality": jax.lax.map(quality, chains[:, -1]),
  }
