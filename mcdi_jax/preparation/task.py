"""One training task of a network on class-indexed items: what is optimised, on what."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.config import check
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.spacing import evenly_spaced
from mcdi_jax.networks import Network
from mcdi_jax.preparation.trajectory import Trajectory, trajectory
from mcdi_jax.tasks import Support, sample_classes, sample_support


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
  prepare_on: Literal["all", "support", "support_and_query"] = "all"
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
  """The streams of a task: its classes, its support, θ_0, the draws of its optimiser."""
  return tuple(jax.random.split(key, 4))


def kept_support(
  key: Key[Array, ""],
  items: ClassSet,
  classes: Int[Array, " N"],
  shots: int,
  *,
  form: tuple[Any, Any] | None = None,
) -> Support:
  """The support that belongs to the task with this key, always the same one; `form` as in
  `sample_support`."""
  return sample_support(task_keys(key)[1], items, classes, shots, form=form)


def prepare_task(
  key: Key[Array, ""],
  items: ClassSet,
  network: Network,
  config: PreparationConfig,
  *,
  ways: int,
  shots: int,
  targets: int,
) -> tuple[Int[Array, " N"], Trajectory]:
  """Draws a task's classes and optimises the network on their items.

  Args:
    items: the training classes; x float [n, V, ...] holds V versions of each item, the
      first one unchanged.
    shots: of the support, for `prepare_on` other than `all`.

  Returns:
    The classes, int [N], and the trajectory.
  """
  k_classes, k_support, k_init, k_steps = task_keys(key)
  classes = sample_classes(k_classes, items, ways)
  x, y, weight = _training_items(k_support, items, classes, config, shots)
  if config.shared_init:
    k_init = key_for(config.seed, "shared θ_0")

  def draw(key: Key[Array, ""]) -> Array:
    versions = x.shape[1]
    if versions == 1:
      return x[:, 0]
    which = jax.random.randint(key, (x.shape[0],), 0, versions)
    return x[jnp.arange(x.shape[0]), which]

  def loss(params: Any, x: Array) -> Float[Array, ""]:
    losses = optax.softmax_cross_entropy_with_integer_labels(network.apply(params, x), y)
    return jnp.sum(weight * losses) / jnp.sum(weight)

  path = trajectory(
    loss,
    network.init(k_init),
    draw,
    k_steps,
    optimiser=optax.adam(config.rate, eps=config.epsilon),
    record=config.recorded_steps(targets),
    sam_radius=config.sam_radius,
  )
  return classes, path


def _training_items(
  k_support: Key[Array, ""],
  items: ClassSet,
  classes: Int[Array, " N"],
  config: PreparationConfig,
  shots: int,
) -> tuple[Array, Array, Array]:
  """Items [m, V, ...], labels [m] and weights [m]: 0 fills up classes of fewer items."""
  if config.prepare_on == "all":
    n_max = items.index.shape[1]
    x = items.x[items.index[classes].reshape(-1)]
    y = jnp.repeat(jnp.arange(len(classes)), n_max)
    weight = jnp.arange(n_max) < items.count[classes][:, None]
    return x, y, weight.reshape(-1).astype(jnp.float32)
  number = shots + (config.queries if config.prepare_on == "support_and_query" else 0)
  x, y, counted = sample_support(k_support, items, classes, number)
  return x, y, counted.astype(jnp.float32)
