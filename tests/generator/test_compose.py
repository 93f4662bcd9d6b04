"""Models made of models: what they make, and that they nest, under every transformation."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import WAYS, make_generator, make_support

from mcdi_jax import generate
from mcdi_jax.compose import ensemble, guide, refine
from mcdi_jax.generator import Generator
from mcdi_jax.lib.errors import InputError

NEAR = {"rtol": 1e-4, "atol": 1e-5}  # float32, compiled otherwise
SUPPORT, KEY = make_support(), jax.random.key(0)


@pytest.fixture(scope="module")
def generator() -> Generator:
  return make_generator()


@pytest.fixture(scope="module")
def other() -> Generator:
  """Another backbone and another score network."""
  made = make_generator()
  shift = lambda tree: jax.tree.map(lambda leaf: 0.9 * leaf + 0.01, tree)  # noqa: E731
  return dataclasses.replace(made, score=shift(made.score), frozen=shift(made.frozen))


def _less_precise(generator: Generator) -> Generator:
  spec = dataclasses.replace(generator.spec, matmul_precision="default")
  return dataclasses.replace(generator, spec=spec)


def _log_p(generator: Generator, params: Any) -> np.ndarray:
  logits = np.float64(generator.network.apply(params, SUPPORT.x))
  return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_refined_weights_are_those_of_a_plain_descent(generator: Generator):
  """By hand, from the weights that the generator makes."""
  rate, params = 3.0, generate(generator, SUPPORT, KEY)
  features = generator.embed(SUPPORT.x)

  def loss(params: Any) -> Any:
    log_p = jax.nn.log_softmax(features @ params["head"]["kernel"] + params["head"]["bias"])
    return -jnp.mean(log_p[jnp.arange(len(SUPPORT.y)), SUPPORT.y])

  before = loss(params)
  for _ in range(3):
    params = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))
  found = generate(refine(generator, steps=3, rate=rate), SUPPORT, KEY)
  chex.assert_trees_all_close(found, params, **NEAR)
  assert loss(found) < before - 0.01


def test_no_steps_change_nothing(generator: Generator):
  found = generate(refine(generator, steps=0, rate=1.0), SUPPORT, KEY)
  chex.assert_trees_all_equal(found, generate(generator, SUPPORT, KEY))


def test_masked_items_have_no_part_in_refinement(generator: Generator):
  refined = refine(generator, steps=2, rate=0.3)
  more = jnp.concatenate([SUPPORT.x, jnp.full((2, *SUPPORT.x.shape[1:]), jnp.nan)])
  labels = jnp.pad(SUPPORT.y, (0, 2))
  padded = SUPPORT._replace(x=more, y=labels, mask=jnp.arange(len(labels)) < len(SUPPORT.y))
  found = generate(refined, padded, KEY, ways=WAYS)
  chex.assert_trees_all_close(found, generate(refined, SUPPORT, KEY), **NEAR)


def test_an_ensemble_answers_with_the_mean_of_the_probabilities(
  generator: Generator, other: Generator
):
  """Of models with backbones of their own."""
  both = ensemble(generator, other)
  params = generate(both, SUPPORT, KEY)
  each = [
    _log_p(model, jax.tree.map(lambda leaf: leaf[0], own))
    for model, own in zip((generator, other), params, strict=True)
  ]
  expected = np.log(np.mean(np.exp(each), axis=0))
  np.testing.assert_allclose(both.network.apply(params, SUPPORT.x), expected, **NEAR)
  for model, own in zip((generator, other), params, strict=True):
    alone = generate(model, SUPPORT, KEY)
    chex.assert_trees_all_close(jax.tree.map(lambda p: p[0], own), alone, **NEAR)


def test_samples_of_an_ensemble_differ_with_the_temperature(generator: Generator):
  many = ensemble(generator, samples=4)
  (cold,), (warm,) = (generate(many, SUPPORT, KEY, temperature=t) for t in (0.0, 1.0))
  assert warm["head"]["kernel"].shape[0] == 4
  spread = lambda p: np.ptp(np.asarray(p["head"]["kernel"]), axis=0).max()  # noqa: E731
  assert spread(cold) < 1e-5 < 0.01 < spread(warm)


def test_guidance_of_one_step_is_a_line_through_two_outputs():
  """At T = 1 the weights are linear in the output: those at strength s lie on the line
  from those without a condition (s = 0) through the generator's own (s = 1)."""
  generator = make_generator(steps=1, segments=1)
  at = lambda s: generate(guide(generator, s), SUPPORT, KEY)["head"]["kernel"]  # noqa: E731
  none, own = at(0.0), generate(generator, SUPPORT, KEY)["head"]["kernel"]
  np.testing.assert_allclose(at(1.0), own, **NEAR)
  np.testing.assert_allclose(at(2.5), none + 2.5 * (own - none), **NEAR)
  assert abs(own - none).max() > 1e-2
  other = generate(guide(generator, 0.0), make_support(1), KEY)["head"]["kernel"]
  np.testing.assert_allclose(other, none, **NEAR)  # it knows nothing of the support


def test_a_class_without_items_stops_no_gradient(generator: Generator):
  """No model of an ensemble can choose it; the others are as without it."""
  mask, refined = SUPPORT.y < WAYS - 1, refine(ensemble(generator), steps=1, rate=0.2)
  (found,) = generate(refined, SUPPORT._replace(mask=mask), KEY, ways=WAYS)
  own = refine(generator, steps=1, rate=0.2)
  expected = generate(own, SUPPORT._replace(mask=mask), KEY, ways=WAYS)
  first = jax.tree.map(lambda leaf: leaf[0], found)
  chex.assert_trees_all_close(first, expected, **NEAR)
  assert np.isfinite(first["head"]["kernel"]).all()


def test_compositions_nest_under_jit_vmap_and_grad(generator: Generator, other: Generator):
  """Both orders; the gradient reaches both generators, the rate and the images."""
  for made in (
    refine(ensemble(generator, other, samples=2), steps=2, rate=jnp.float32(0.2)),
    ensemble(refine(generator, steps=2, rate=jnp.float32(0.2)), other),
    refine(guide(generator, jnp.float32(1.5)), steps=2, rate=jnp.float32(0.2)),
  ):
    plain = generate(made, SUPPORT, KEY, temperature=0.5)
    jitted = jax.jit(lambda m, s, k: generate(m, s, k, temperature=0.5))
    chex.assert_trees_all_close(jitted(made, SUPPORT, KEY), plain, **NEAR)
    keys = jax.random.split(KEY, 3)
    several = jax.vmap(lambda k, m=made: generate(m, SUPPORT, k, temperature=0.5))(keys)
    one = generate(made, SUPPORT, keys[1], temperature=0.5)
    chex.assert_trees_all_close(jax.tree.map(lambda p: p[1], several), one, **NEAR)

    def loss(made: Any, x: Any) -> Any:
      params = generate(made, SUPPORT._replace(x=x), KEY)
      log_p = jax.nn.log_softmax(made.network.apply(params, x))
      return -jnp.mean(log_p[jnp.arange(len(x)), SUPPORT.y])

    of_made, of_images = jax.jit(jax.grad(loss, (0, 1)))(made, SUPPORT.x)
    chex.assert_tree_all_finite((of_made, of_images))
    assert abs(of_images).max() > 1e-6
    changed = [bool(np.any(g != 0)) for g in jax.tree.leaves(of_made)]
    assert np.mean(changed) > 0.8


def test_a_composition_may_be_made_where_it_is_used(generator: Generator):
  """Inside a `jit`, of numbers that are known there, of any type that counts."""
  makers = (
    lambda g, s: refine(g, steps=np.int64(s), rate=0.1),
    lambda g, s: ensemble(g, samples=np.int32(s)),
  )
  for make in makers:
    inside = jax.jit(lambda g, k, make=make: generate(make(g, 2), SUPPORT, k))
    found = inside(generator, KEY)
    chex.assert_trees_all_close(found, generate(make(generator, 2), SUPPORT, KEY), **NEAR)


@pytest.mark.parametrize(
  ("make", "said"),
  [
    (
      lambda g: refine(g, steps=-1, rate=0.1),
      "steps is -1: give a whole number of at least 0",
    ),
    (lambda g: ensemble(g, samples=0), "samples is 0: give a whole number of at least 1"),
    (lambda g: refine(g, steps=1.5, rate=0.1), "steps is 1.5: give a whole number"),
    (lambda g: refine(g, steps=1, rate=np.nan), "rate is nan: give a finite number"),
    (lambda g: refine(g, steps=1, rate="fast"), "rate is 'fast': give a finite number"),
    (lambda g: guide(g, np.nan), "strength is nan: give a finite number"),
    (lambda g: guide(g, np.ones(2)), "strength is array.*: give a finite number"),
    (lambda g: ensemble(), "an ensemble of no models"),
    (lambda g: guide(ensemble(g), 2.0), "Ensemble is no generator: guide one first"),
    (lambda g: ensemble(g, _less_precise(g)), "different matmul precisions, "),
    (lambda g: generate(ensemble(g), SUPPORT, KEY, ways=1), "at least 2 classes"),
  ],
)
def test_what_cannot_be_composed_is_refused_in_one_sentence(
  generator: Generator, make: Any, said: str
):
  with pytest.raises(InputError, match=said):
    make(generator)
