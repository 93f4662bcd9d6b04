"""One training task: what is optimised, on what."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mcdi_jax.families import Batch, PrepareOn, TaskFamily
from mcdi_jax.lib.config import check
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.spacing import evenly_spaced
from mcdi_jax.preparation.trajectory import Trajectory, trajectory
from mcdi_jax.tasks import Form, Support


@dataclasses.dataclass(frozen=True)
class PreparationConfig:
  """Trajectories of the training tasks.

  Attributes:
    tasks: tasks in a bank, for each number of ways.
    steps: M, Adam steps a task.
    rate: Adam's rate.
    epsilon: Adam's, in the denominator √v + ε. Where it is small beside a gradient's
      coordinates, steps are nearly signs and forget how much a coordinate matters.
    prepare_on: `all` drawings of the task's classes; `support`: the K shots that the
      condition is computed from; `support_and_query`: those and the queries.
    queries: queries a class, for `support_and_query`.
    init_scale: of a Gaussian θ_0; 0 is a zero θ_0.
    shared_init: one θ_0 for all tasks; else each task draws its own.
    sam_radius: ρ of sharpness-aware minimisation; 0 is off.
    augment_copies: slightly warped copies of each image to train on beside it; each step
      draws one version of each image. 0 is off.
    shard_tasks: tasks in one file of the bank.
    seed: of the tasks.
  """

  tasks: int = 16384
  steps: int = 60
  rate: float = 3.0
  epsilon: float = 1.0
  prepare_on: PrepareOn = "all"
  queries: int = 15
  init_scale: float = 0.0
  shared_init: bool = True
  sam_radius: float = 0.0
  augment_copies: int = 0
  shard_tasks: int = 1024
  seed: int = 0

  def __post_init__(self):
    where = "config.preparation"
    least = {"tasks": 1, "steps": 1, "shard_tasks": 1, "queries": 1, "augment_copies": 0}
    least |= {"sam_radius": 0, "init_scale": 0}
    for name, number in least.items():
      value = getattr(self, name)
      check(value >= number, f"{where}.{name}", value, f"give at least {number}")
    for name in ("rate", "epsilon"):
      value = getattr(self, name)
      check(value > 0, f"{where}.{name}", value, "give a positive number")

  def recorded_steps(self, targets: int) -> tuple[int, ...]:
    """The steps of the k local targets; raises `InputError` if k > M."""
    remedy = f"k cannot exceed M = {self.steps} (config.preparation.steps)"
    check(targets <= self.steps, "config.diffusion.segments", targets, remedy)
    return evenly_spaced(self.steps, targets)


def task_keys(key: Key[Array, ""]) -> tuple[Any, Any, Any, Any]:
  """The streams of a task: which it is, its support, θ_0, the draws of its optimiser."""
  return tuple(jax.random.split(key, 4))


def support_key(key: Key[Array, ""]) -> Key[Array, ""]:
  """Of the support that is kept with the task with this key, always the same one."""
  return task_keys(key)[1]


def prepare_task(
  key: Key[Array, ""],
  items: Any,
  frozen: Any,
  family: TaskFamily,
  config: PreparationConfig,
  *,
  form: Form,
  targets: int,
) -> tuple[Any, Trajectory]:
  """Draws a task and optimises the family's network for it.

  Args:
    items: of the training split, embedded.
    frozen: the network's frozen params.
    form: static; its shots are those of the support, for `prepare_on` other than `all`.

  Returns:
    The task, as the family describes it, and the trajectory.
  """
  k_task, k_support, k_init, k_steps = task_keys(key)
  task = family.draw_task(k_task, items, form.ways)
  gathered = family.preparation_items(
    k_support, items, task, config.prepare_on, shots=form.shots, queries=config.queries
  )
  if config.shared_init:
    k_init = key_for(config.seed, "shared θ_0")

  def loss(params: Any, batch: Batch) -> Float[Array, ""]:
    support = Support(batch.x, batch.y, batch.weight > 0)
    output = family.fitted(frozen, params, support)
    losses = family.loss(output, batch.y)
    return jnp.sum(batch.weight * losses) / jnp.sum(batch.weight)

  draw = lambda key: family.preparation_batch(key, gathered)  # noqa: E731
  x = jax.eval_shape(draw, k_steps).x
  path = trajectory(
    loss,
    family.init(frozen, k_init, x, form.ways, scale=config.init_scale),
    draw,
    k_steps,
    optimiser=optax.adam(config.rate, eps=config.epsilon),
    record=config.recorded_steps(targets),
    sam_radius=config.sam_radius,
  )
  return task, path
