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
from mcdi_jax.lib.errors import InputError

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


def test_iterated_takes_the_gradient_at_what_was_generated(generator: Generator):
  """Once is the generator itself; twice is what its condition there gives."""
  support = _support()
  once = generate(compose.iterate(generator, 1), support, KEY)
  chex.assert_trees_all_close(once, generate(generator, support, KEY), rtol=1e-5)
  condition = generator.condition(support, 1, at=once)
  tokens, _ = generator.sample(condition, KEY, temperature=0.0)
  expected = generator.decode(tokens, condition, support)
  found = generate(compose.iterate(generator, 2), support, KEY)
  chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-4)
  moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found, once)
  assert max(jax.tree.leaves(moved)) > 1e-3


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
