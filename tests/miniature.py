"""A generator, supports and training tasks so small that a test compiles in seconds."""

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import from_labels
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Heads
from mcdi_jax.generator import Generator, GeneratorSpec, ScoreConfig
from mcdi_jax.generator.storage import blank
from mcdi_jax.meta import TaskSource, Training, task_source
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Form, Support
from mcdi_jax.weights import Roots

WAYS, SHOTS, WIDTH, STEPS = 3, 2, 4, 6
IMAGE = (16, 16, 1)


def filled(shapes: Any, seed: int = 0) -> Any:
  """Params of these shapes from numpy: nothing to compile, and, unlike fresh params, no
  zeros that hide what depends on them."""
  rng = np.random.default_rng(seed)

  def leaf(path: Any, like: Any) -> jax.Array:
    luck = rng.normal(size=like.shape)
    if path[-1].key in ("scale", "gain", "var"):
      return jnp.float32(1 + 0.1 * abs(luck))
    fan_in = np.prod(like.shape[:-1]) if len(like.shape) > 1 else 20
    return jnp.float32(luck / np.sqrt(fan_in))

  return jax.tree_util.tree_map_with_path(leaf, shapes)


def make_generator(
  network: str = "transformer",
  *,
  ways: tuple[int, ...] = (WAYS,),
  shots: tuple[int, ...] = (SHOTS,),
  base: str = "none",
  gauge: bool = True,
  precondition: float = 0.0,
  ridge: int = 0,
  **diffusion: Any,
) -> Generator:
  settings = {"steps": STEPS, "segments": 3, "schedule": "linear_auto", **diffusion}
  spec = GeneratorSpec(
    score=ScoreConfig(network=network, width=16, layers=1, heads=2, vectors=4, ridge=ridge),
    diffusion=DiffusionConfig(**settings),
    family=Heads(ways=ways, shots=shots, image_shape=IMAGE, width=WIDTH),
    base=base,
    precondition=precondition,
  )
  made = jax.eval_shape(lambda: blank(spec, jax.random.key(0), gauge=gauge))
  units = [jnp.eye(len(own.root)) for own in made.space.roots]
  roots = tuple(Roots(2 * unit, unit / 2) for unit in units)
  return dataclasses.replace(
    made,
    score=filled(made.score),
    frozen=filled(made.frozen),
    space=dataclasses.replace(made.space, scale=jnp.float32([0.7, 1.6]), roots=roots),
    schedule=make_schedule(spec.diffusion),
  )


def make_support(seed: int = 0, ways: int = WAYS, shots: int = SHOTS) -> Support:
  """Images with labels in no order."""
  rng = np.random.default_rng(seed)
  labels = rng.permutation(np.repeat(np.arange(ways), shots))
  images = rng.uniform(size=(ways * shots, *IMAGE))
  return Support(jnp.float32(images), jnp.int32(labels))


@contextlib.contextmanager
def few_timed(room: Any, names: Collection[str]) -> Iterator[list[tuple[str, int, int]]]:
  """Notes in place of `room.latencies` what it is to time, (method, ways, shots); of it
  methods of these names are timed, with the first form of task: each compiles."""
  asked: list[tuple[str, int, int]] = []
  timed = room.latencies

  def latencies(config: Any, facts: Any, methods: Any, *rest: Any) -> Any:
    form, first = rest[1], not asked
    asked.extend((method.name, form.ways, form.shots) for method in methods)
    few = [method for method in methods if method.name in names]
    return timed(config, facts, few, *rest) if first else []

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(room, "latencies", latencies)
    yield asked


def step_of(training: Training, generator: Generator, source: TaskSource) -> Any:
  """`step(state, key)`: draws a batch and descends on it, as a run does."""

  def step(state: Any, key: Any) -> Any:
    batch = training.draw(source, generator, key, state.step)
    return training.step(state, generator, batch, key)

  return step


def flat(shots: Any) -> Support:
  """Features by class [N, K, D] as a support."""
  ways, number, width = shots.shape
  return Support(shots.reshape(-1, width), jnp.repeat(jnp.arange(ways), number))


def make_source(
  tasks: int = 16,
  segments: int = 3,
  width: int = WIDTH,
  forms: tuple[tuple[int, int], ...] = ((WAYS, SHOTS),),
) -> TaskSource:
  """Tasks of each form over 8 classes of 5 items whose targets follow from the classes:
  the rows of target i are i/k times a fixed linear map of the class means."""
  rng = np.random.default_rng(7)
  centre, mixing = rng.normal(size=(8, width)), rng.normal(size=(width, width + 1))
  labels = np.repeat(np.arange(8), 5)
  x = np.float32(centre[labels] + 0.1 * rng.normal(size=(40, width)))
  part = np.float32(np.arange(1, segments + 1) / segments)[None, :, None, None]

  def bank(ways: int) -> Bank:
    choices = np.int32(list(itertools.permutations(range(8), ways)))
    classes = rng.permutation(choices)[:tasks]  # all different
    rows = part * np.float32(centre[classes] @ mixing)[:, None]
    kernel, bias = np.swapaxes(rows[..., :width], 2, 3), rows[..., width]
    return Bank(classes, {"head": {"kernel": kernel, "bias": bias}})

  made = {ways: bank(ways) for ways in dict.fromkeys(ways for ways, _ in forms)}
  banks = [made[ways] for ways, _ in forms]
  family = Heads(
    ways=tuple(ways for ways, _ in forms),
    shots=tuple(shots for _, shots in forms),
    image_shape=IMAGE,
  )
  forms = [Form(*form) for form in forms]
  return task_source(family, forms, banks, from_labels(x, labels), jax.random.key(5))
