"""Fields: an image a task, its pixels the support, all weights generated."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import filled

from mcdi_jax import generate
from mcdi_jax.data import from_labels
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Fields
from mcdi_jax.generator import (
  Generator,
  GeneratorSpec,
  ScoreConfig,
  load_generator,
  save_generator,
)
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib.errors import InputError
from mcdi_jax.preparation import PreparationConfig, prepare_task
from mcdi_jax.tasks import Form, Protocol, Query

SHAPE = (5, 4, 1)
FAMILY = Fields(image_shape=SHAPE, frequencies=3, bandwidth=1.0, hidden=4)
LABELS = np.repeat(np.arange(3), [2, 3, 4])
PIXELS = np.random.default_rng(0).integers(0, 256, (9, *SHAPE)).astype(np.uint8)
FROZEN = FAMILY.init_frozen(jax.random.key(1))
KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def items() -> Any:
  return FAMILY.items(FROZEN, jax.tree.map(jnp.asarray, from_labels(PIXELS, LABELS)))


@pytest.fixture(scope="module")
def generator() -> Generator:
  spec = GeneratorSpec(
    score=ScoreConfig(network="tokens", width=8, layers=1, heads=2),
    diffusion=DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    family=FAMILY,
    base="init",
  )
  made = jax.eval_shape(lambda: blank(spec, KEY))
  space = dataclasses.replace(made.space, scale=jnp.linspace(0.5, 1.5, 4))
  score, schedule = filled(made.score), make_schedule(spec.diffusion)
  return dataclasses.replace(
    made, score=score, frozen=FROZEN, space=space, schedule=schedule
  )


def test_a_support_is_the_image_pixel_by_pixel(items: Any):
  """Row after row; places are the centres of pixels, embedded; the query is the same."""
  for seed in range(20):
    task = FAMILY.draw_task(jax.random.key(seed), items, 1)
    assert 0 <= task[1] < (int(task[0]) == LABELS).sum()
    support, query = FAMILY.examples(KEY, items, task, Protocol(1, 1, 1))
    number = np.flatnonzero(int(task[0]) == LABELS)[int(task[1])]
    np.testing.assert_allclose(support.y[:, 0], PIXELS[number].ravel() / 255, rtol=1e-6)
    np.testing.assert_array_equal(query.y, support.y)
    np.testing.assert_array_equal(FAMILY.clusters(items, task), task[:1])
  places = np.asarray(FAMILY.places()).reshape(5, 4, 2)
  np.testing.assert_allclose(places[3, 1], [3.5 / 5, 1.5 / 4], rtol=1e-6)
  np.testing.assert_array_equal(
    support.x, FAMILY.embed(FROZEN, jnp.asarray(places.reshape(-1, 2)))
  )


def test_a_place_is_embedded_by_its_waves():
  """√2 sin and cos of 2π x·b; mean square 1 over phases."""
  x = np.float64([[0.3, 0.7]])
  phase = 2 * np.pi * x @ np.float64(FROZEN["frequencies"])
  expected = np.sqrt(2) * np.concatenate([np.sin(phase), np.cos(phase)], -1)
  np.testing.assert_allclose(FAMILY.embed(FROZEN, jnp.float32(x)), expected, atol=1e-5)


def test_the_network_and_its_quality_by_hand(items: Any):
  params = jax.tree.map(np.float64, FROZEN["init"])
  x = np.float64(items.places)
  h = np.maximum(x @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
  expected = h @ params["out"]["kernel"] + params["out"]["bias"]
  found = FAMILY.apply(FROZEN, FROZEN["init"], items.places)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  y = np.random.default_rng(3).uniform(size=expected.shape)
  error = np.mean((expected - y) ** 2)
  quality = FAMILY.quality(found, Query(items.places, jnp.float32(y)))
  np.testing.assert_allclose(quality, 10 * np.log10(1 / error), rtol=1e-5)
  np.testing.assert_allclose(
    FAMILY.loss(found, jnp.float32(y)), ((expected - y) ** 2)[:, 0], atol=1e-5
  )


def test_theta_0_is_shared_or_a_tasks_own_and_as_large():
  init = lambda key, scale: FAMILY.init(FROZEN, key, None, 1, scale=scale)  # noqa: E731
  for a, b in zip(
    jax.tree.leaves(init(KEY, 0.0)), jax.tree.leaves(FROZEN["init"]), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  own = init(KEY, 1.0)["hidden"]["kernel"]
  np.testing.assert_allclose(own, FAMILY.fresh(KEY)["hidden"]["kernel"], atol=1e-6)
  half = init(KEY, 0.6)["hidden"]["kernel"]
  shared = FROZEN["init"]["hidden"]["kernel"]
  np.testing.assert_allclose(half, 0.8 * shared + 0.6 * own, atol=1e-6)


def test_preparation_fits_the_image_from_the_shared_start(items: Any):
  config = PreparationConfig(steps=60, rate=0.03, epsilon=1e-8)
  form = Form(1, 1)
  task, path = jax.jit(
    lambda key: prepare_task(key, items, FROZEN, FAMILY, config, form=form, targets=3)
  )(KEY)
  support = FAMILY.support(KEY, items, task, 1)
  quality = lambda params: FAMILY.quality(  # noqa: E731
    FAMILY.apply(FROZEN, params, support.x), Query(*support)
  )
  found = [float(quality(FROZEN["init"]))]
  found += [float(q) for q in jax.vmap(quality)(path.weights)]
  assert found == sorted(found) and found[-1] > found[0] + 5


def test_generate_gives_all_weights_of_the_network(generator: Generator):
  """In the tree that `apply` takes; they depend on the image, and not on the key at τ = 0.
  One compilation serves another frozen part."""
  supports = [FAMILY.as_support(jnp.float32(PIXELS[n]) / 255) for n in (0, 1)]
  first, other = (generate(generator, support, KEY) for support in supports)
  shapes = jax.tree.map(jnp.shape, FROZEN["init"])
  assert jax.tree.map(jnp.shape, first) == shapes
  assert any(
    abs(a - b).max() > 1e-4
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
  )
  again = generate(generator, supports[0], jax.random.key(9))
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)
  values = generator.network.apply(first, FAMILY.places())
  assert values.shape == (20, 1) and np.isfinite(values).all()


def test_what_is_generated_is_a_difference_from_theta_0(generator: Generator):
  """Of a score network that puts out nothing but 0, at T where the chain at τ = 0 stays at
  the origin: θ_0 itself."""
  idle = dataclasses.replace(generator, score=jax.tree.map(jnp.zeros_like, generator.score))
  found = generate(idle, FAMILY.as_support(jnp.zeros(SHAPE)), KEY)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(FROZEN["init"]), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_generator_of_fields_is_saved_and_loaded(generator: Generator, tmp_path: Any):
  save_generator(tmp_path / "g", generator)
  found = load_generator(tmp_path / "g")
  assert found.spec == generator.spec
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(generator), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"y": jnp.zeros((19, 1))}, "as_support"),
    ({"x": jnp.zeros((19, 2))}, "as_support"),
    ({"x": jnp.zeros((20, 3))}, r"give items \[n, 2\]"),
    ({"x": jnp.zeros((20, 2), jnp.int32)}, "give floats"),
    ({"mask": jnp.ones(20, bool)}, "all pixels"),
  ],
)
def test_what_is_no_image_is_refused(generator: Generator, change: Any, said: str):
  support = FAMILY.as_support(jnp.zeros(SHAPE))._replace(**change)
  with pytest.raises(InputError, match=said):
    generate(generator, support, KEY)
