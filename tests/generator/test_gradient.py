"""The support's gradient as a condition, and generating again from what was generated."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import filled

from configs import sines
from mcdi_jax import Support, generate
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.generator import Generator, GeneratorSpec, ScoreConfig, compose
from mcdi_jax.generator.storage import blank
from mcdi_jax.generator.tokens import TokenNetwork
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta.finishing import query_loss
from mcdi_jax.tasks import Query, Task

FAMILY = sines.FAMILY
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def generator() -> Generator:
  spec = GeneratorSpec(
    score=ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True),
    diffusion=DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    family=FAMILY,
    base="init",
  )
  made = jax.eval_shape(lambda: blank(spec, KEY))
  scale = jnp.linspace(0.05, 0.15, len(made.space.leaves))
  return dataclasses.replace(
    made,
    score=filled(made.score),
    frozen=FAMILY.init_frozen(jax.random.key(1)),
    space=dataclasses.replace(made.space, scale=scale),
    schedule=make_schedule(spec.diffusion),
  )


def _support(seed: int = 0) -> Support:
  x = jnp.linspace(-3.0, 3.0, 10)[:, None]
  return Support(x, jnp.sin((1 + seed) * x[:, 0]))


def _loss(params: Any, support: Support, frozen: Any) -> Any:
  return FAMILY.loss(FAMILY.apply(frozen, params, support.x), support.y).mean()


def test_each_token_is_told_its_own_part(generator: Generator):
  """What the encoder makes of gradient tokens is added to the tokens of weights, one by
  one; each leaf of the gradient has rms 1."""
  support, frozen = _support(), generator.frozen
  gradient = jax.grad(_loss)(frozen["init"], support, frozen)
  unit = jax.tree.map(lambda g: g / jnp.sqrt(jnp.mean(g**2)), gradient)
  ones = dataclasses.replace(generator.space, scale=jnp.ones_like(generator.space.scale))
  tokens = ones.encode(unit)
  layer = generator.score["gradient_encoder"]
  expected = tokens @ layer["kernel"] + layer["bias"]
  score = {**generator.score, "gradient_encoder": jax.tree.map(jnp.zeros_like, layer)}
  deaf = dataclasses.replace(generator, score=score)
  seen = [g.condition(support, 1).context.by_place for g in (generator, deaf)]
  np.testing.assert_allclose(seen[0] - seen[1], expected, rtol=1e-3, atol=1e-4)


def test_a_step_along_the_gradient_has_a_rate_for_each_number():
  """What the output has beside the same network without it are rates of a place and of its
  token, times the gradient and its signs; all are 0 in a fresh network."""
  config = ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True, descends=True)
  network = TokenNetwork(config, own=3)
  gradient = jax.random.normal(KEY, (3, 5))
  items = (jnp.ones((4, 6)), jnp.zeros((4, 0)), jnp.ones(4, bool), gradient)
  inputs = (items, jnp.ones(0, bool), jnp.ones((3, 5)), 0.5)
  fresh = network.init(KEY, *inputs)["params"]
  rates = jnp.arange(30.0).reshape(3, 2, 5)
  biased = {**fresh, "rate": rates, "told": {**fresh["told"], "bias": jnp.ones((2, 5))}}
  without = dataclasses.replace(config, descends=False)
  plain = {name: p for name, p in fresh.items() if name not in ("rate", "told")}
  found, unmoved = (network.apply({"params": p}, *inputs) for p in (biased, fresh))
  expected = TokenNetwork(without, own=3).apply({"params": plain}, *inputs)
  np.testing.assert_allclose(unmoved, expected, rtol=1e-6)
  signs = gradient / (jnp.abs(gradient) + 0.3)
  step = (rates[:, 0] + 1) * gradient + (rates[:, 1] + 1) * signs
  np.testing.assert_allclose(found - expected, step, rtol=1e-4, atol=1e-5)


def test_iterated_goes_on_from_what_was_generated(generator: Generator):
  """Once is the generator itself; twice is the change that its condition there gives, from
  there."""
  support = _support()
  once = generate(compose.iterate(generator, 1), support, KEY)
  chex.assert_trees_all_close(once, generate(generator, support, KEY), rtol=1e-5)
  condition = generator.condition(support, 1, at=once)
  tokens, _ = generator.sample(condition, KEY, temperature=0.0)
  change = generator.space.decode(tokens)
  expected = jax.tree.map(jnp.add, once, change)
  found = generate(compose.iterate(generator, 2), support, KEY)
  chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-4)
  moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found, once)
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_each_token_is_told_where_its_gradient_was_taken(generator: Generator):
  """As a difference from the base, in the unit of tokens; at the base that is 0."""
  spec = dataclasses.replace(
    generator.spec, score=dataclasses.replace(generator.spec.score, position=True)
  )
  layer = {"kernel": jnp.eye(generator.space.width, 8), "bias": jnp.zeros(8)}
  score = {**generator.score, "position_encoder": layer}
  told = dataclasses.replace(generator, spec=spec, score=score)
  support, init = _support(), generator.frozen["init"]
  there = jax.tree.map(lambda leaf: leaf + 0.1, init)
  for at, expected in ((None, 0.0), (there, generator.space.encode(there, init)[:, :8])):
    seen, unseen = (
      g.condition(support, 1, at=at).context.by_place for g in (told, generator)
    )
    np.testing.assert_allclose(seen - unseen, expected + 0 * seen, atol=1e-4)


def test_the_query_loss_of_passes_is_their_mean(generator: Generator):
  """Each pass starts from the one before, through which nothing is derived; the quality is
  that of the last."""
  support, query = _support(), Query(*_support(1)[:2])
  task, family, frozen = Task(support, query), generator.family, generator.frozen
  each = [generate(compose.iterate(generator, n), support, KEY) for n in (1, 2)]
  losses = [_loss(params, query, frozen) for params in each]
  run = lambda g, passes: query_loss(g.score, g, task, KEY, passes=passes)  # noqa: E731
  loss, quality = run(generator, 2)
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4)
  last = family.quality(family.apply(frozen, each[1], query.x), query)
  np.testing.assert_allclose(quality, last, rtol=1e-4)

  def second_alone(score: Any) -> Any:
    own = dataclasses.replace(generator, score=score)
    key = jax.random.fold_in(KEY, 1)
    found = own.sampled_from(each[0], support, key, temperature=0.0, ways=1)
    return _loss(found, query, frozen)

  gradient = jax.grad(lambda s: query_loss(s, generator, task, KEY, passes=2)[0])
  first = jax.grad(lambda s: query_loss(s, generator, task, KEY)[0])(generator.score)
  expected = jax.tree.map(
    lambda a, b: (a + b) / 2, first, jax.grad(second_alone)(generator.score)
  )
  chex.assert_trees_all_close(gradient(generator.score), expected, rtol=1e-2, atol=1e-4)


def test_iterated_under_jit_vmap_and_grad_and_in_compositions(generator: Generator):
  support, twice = _support(), compose.iterate(generator, 2)
  nested = compose.refine(compose.ensemble(twice, generator), steps=2, rate=0.01)
  several = jax.jit(jax.vmap(lambda k: generate(nested, support, k, temperature=1.0)))
  found = several(jax.random.split(KEY, 2))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
  kernel = found[0]["layer_1"]["kernel"]
  assert not np.allclose(kernel[0], kernel[1], atol=1e-3)

  def size(y: Any) -> Any:
    return jnp.sum(generate(twice, support._replace(y=y), KEY)["layer_1"]["kernel"] ** 2)

  slope = jax.grad(size)(support.y)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_what_cannot_be_iterated_is_told(generator: Generator):
  score = dataclasses.replace(generator.spec.score, gradient=False)
  spec = dataclasses.replace(generator.spec, score=score)
  with pytest.raises(InputError, match=r"does not depend on weights: .*score\.gradient"):
    compose.iterate(dataclasses.replace(generator, spec=spec), 2)
  for wrong, said in ((0, "times is 0"), (1.5, "times is 1.5")):
    with pytest.raises(InputError, match=said):
      compose.iterate(generator, wrong)
  with pytest.raises(InputError, match="Refined is no generator: iterate one first"):
    compose.iterate(compose.refine(generator, steps=1, rate=0.1), 2)


def test_only_tokens_are_told_a_gradient():
  with pytest.raises(InputError, match=r"config\.score\.gradient is True: .*'tokens'"):
    ScoreConfig("equivariant", gradient=True)
