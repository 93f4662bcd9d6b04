"""Scales and shifts inside an encoder, and the classifier on what it makes then."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mcdi_jax.data.class_set import from_labels
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Adapters, Features
from mcdi_jax.generator import Generator, GeneratorSpec, ScoreConfig, generate
from mcdi_jax.generator.storage import blank, load_generator, save_generator
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import draw_tasks, task_source
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Form, Support

KEY = jax.random.key(0)
RESNET = Adapters(image_shape=(16, 16, 3), widths=(2, 3, 4, 6), ways=(3,), shots=(2,))
CONV4 = dataclasses.replace(RESNET, network="conv4", widths=(6,))
FAMILIES = (RESNET, CONV4)


def _frozen(family: Adapters) -> dict:
  """Encoders whose statistics and gains are no longer those of the start."""
  params = family.init_frozen(KEY)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(KEY, len(leaves))
  both = zip(keys, leaves, strict=True)
  factors = [jnp.exp(0.3 * jax.random.normal(k, a.shape)) for k, a in both]
  return jax.tree.unflatten(tree, [a * f for a, f in zip(leaves, factors, strict=True)])


def _support(number: int = 6) -> Support:
  x = jax.random.uniform(KEY, (number, 16, 16, 3))
  return Support(x, jnp.arange(number) % 3)


def _params(family: Adapters, frozen: dict, scale: float) -> dict:
  return family.init(frozen, KEY, _support().x, 3, scale=scale)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.network)
def test_theta_0_is_the_encoder_with_a_head_in_closed_form(family: Adapters):
  """As `Features` has it on the encoder's own features."""
  frozen, support = _frozen(family), _support()
  params = family.settled(frozen, _params(family, frozen, 0.0), support)
  x = jax.random.uniform(jax.random.key(1), (4, 16, 16, 3))
  found = family.apply(frozen, params, x)
  on = support._replace(x=family.encoder.apply(frozen, support.x))
  heads = Features(width=6, ways=(3,), shots=(2,))
  head = heads.settled({}, heads.base({}, "prototypes", on, 3), on)
  expected = heads.apply({}, head, family.encoder.apply(frozen, x))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.network)
def test_every_scale_and_shift_changes_features_and_the_full_tree_has_them(
  family: Adapters,
):
  frozen, x = _frozen(family), _support().x
  params = _params(family, frozen, 0.3)
  plain = family.encoder.apply(frozen, x)
  leaves, tree = jax.tree.flatten(params["film"])
  norms = 4 * 4 if family.network == "resnet12" else 4
  assert len(leaves) == 2 * norms
  for n in range(len(leaves)):
    one = [leaf if i == n else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)]
    found = family.features(frozen, {"film": jax.tree.unflatten(tree, one)}, x)
    assert float(jnp.abs(found - plain).max()) > 1e-4
  full = family.merge(frozen, params)["backbone"]
  np.testing.assert_allclose(
    family.encoder.apply(full, x), family.features(frozen, params, x), atol=1e-5
  )


def test_items_that_do_not_count_change_nothing():
  frozen, support = _frozen(RESNET), _support()
  params = _params(RESNET, frozen, 0.2)
  filled = Support(
    jnp.concatenate([support.x, jnp.full((2, 16, 16, 3), jnp.nan)]),
    jnp.pad(support.y, (0, 2)),
    jnp.arange(8) < 6,
  )
  plain, padded = (RESNET.settled(frozen, params, s)["settled"] for s in (support, filled))
  for a, b in zip(*map(jax.tree.leaves, (plain, padded)), strict=True):
    np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3)
  gradient = jax.grad(lambda p: RESNET.fitted(frozen, p, filled)[:6].sum())(params)
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_fitted_sees_how_far_classes_lie_apart():
  """A step against its gradient brings the support nearer to its own prototypes, whatever
  the head in closed form is."""
  frozen, support = _frozen(RESNET), _support(9)
  params = _params(RESNET, frozen, 0.0)
  ridge = dataclasses.replace(RESNET, closed_form="ridge")
  both = [family.fitted(frozen, params, support) for family in (RESNET, ridge)]
  np.testing.assert_allclose(*both)

  def loss(film: dict) -> Array:
    output = RESNET.fitted(frozen, {**params, "film": film}, support)
    return RESNET.loss(output, support.y).mean()

  before, gradient = jax.value_and_grad(loss)(params["film"])
  assert min(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0
  after = loss(jax.tree.map(lambda p, g: p - 0.02 * g, params["film"], gradient))
  assert float(after) < float(before)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda f: f.network)
def generator(request: pytest.FixtureRequest) -> Generator:
  family = request.param
  spec = GeneratorSpec(
    ScoreConfig("tokens", width=16, layers=1, heads=2, gradient=True),
    DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    family,
    "init",
  )
  frozen = _frozen(family)
  made = blank(spec, KEY)
  leaves, tree = jax.tree.flatten(made.score)
  keys = jax.random.split(KEY, len(leaves))
  drawn = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
  schedule = make_schedule(spec.diffusion)
  score = jax.tree.unflatten(tree, drawn)
  space = dataclasses.replace(made.space, scale=jnp.full(len(made.space.leaves), 0.1))
  parts = {"score": score, "frozen": frozen, "schedule": schedule, "space": space}
  return dataclasses.replace(made, **parts)


def test_generated_and_read_back(generator: Generator, tmp_path):
  """All scales and shifts and the head, settled; classes are a set; other tasks of the
  same form have other weights."""
  support, x = _support(), jax.random.uniform(jax.random.key(1), (4, 16, 16, 3))
  params = generate(generator, support, KEY)
  assert {"film", "head", "settled"} == set(params)
  logits = generator.network.apply(params, x)
  order = jnp.array([2, 0, 1])
  permuted = generate(generator, support._replace(y=order[support.y]), KEY)
  turned = generator.network.apply(permuted, x)[:, order]
  np.testing.assert_allclose(turned, logits, rtol=2e-3, atol=2e-3)
  other = generate(generator, support._replace(x=support.x[::-1]), KEY)
  assert not np.allclose(generator.network.apply(other, x), logits, atol=1e-3)
  save_generator(tmp_path / "g", generator, {})
  again = generate(load_generator(str(tmp_path / "g")), support, KEY)
  np.testing.assert_allclose(generator.network.apply(again, x), logits, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.network)
def test_renormalised_is_the_encoder_with_other_statistics(family: Adapters):
  """All of the support's: those that training normalises with; none: the encoder. Images
  that do not count have no part."""
  frozen, support = _frozen(family), _support(7)
  counted = Support(support.x.at[6].set(jnp.nan), support.y, jnp.arange(7) < 6)
  bare = family.architecture.of_images(family.image_shape)
  own, _ = bare.apply_own(frozen["network"]["weights"], support.x[:6])
  for share, expected in ((1.0, own), (0.0, None)):
    film = family.renormalised(frozen, counted, share)
    found = family.features(frozen, {"film": film}, support.x[:6])
    if expected is None:
      expected = family.encoder.apply(frozen, support.x[:6])
    else:
      expected = (expected - frozen["mean"]) / frozen["scale"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_condition_is_of_the_base(share: float):
  """Features of the encoder with as much of the support's statistics as the base has."""
  family = dataclasses.replace(RESNET, statistics=share)
  frozen, support = _frozen(family), _support()
  base = family.base(frozen, "renormalised", support, 3)
  on = support._replace(x=family.features(frozen, base, support.x))
  (found, _), _ = family.condition(frozen, support, 3)
  (expected, _), _ = family.heads.condition({}, on, 3)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
  moved = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(base["film"]))
  assert (moved > 0.01) == (share > 0)


def test_facts_are_told_to_the_tokens_they_are_of():
  """And nothing is told to those of the head."""
  told = ScoreConfig("tokens", width=8, layers=1, heads=2, facts=True)
  diffusion = DiffusionConfig(steps=3, schedule="linear_auto")
  spec = GeneratorSpec(told, diffusion, CONV4, base="init")
  generator = blank(spec, KEY)
  _, mask, gradient, facts, position = generator.given(_support(), 3).inputs[-5:]
  expected = generator.space.dual.encode(
    CONV4.facts(generator.frozen, _support(), 3), None, jnp.ones(3, bool)
  )
  assert mask is None and gradient is None and position is None
  np.testing.assert_allclose(facts, expected, rtol=1e-5)
  assert float(jnp.abs(facts[:3]).max()) == 0 and float(jnp.abs(facts[3:]).max()) > 0.1


def test_params_that_are_not_settled_are_refused():
  frozen = _frozen(CONV4)
  with pytest.raises(InputError, match="settle them on a support"):
    CONV4.apply(frozen, _params(CONV4, frozen, 0.0), _support().x)


def test_many_tasks_are_drawn_in_the_memory_of_one(generator: Generator):
  """An encoder's activations are larger than all that is kept of a task."""
  family, number = generator.spec.family, 32
  x = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3)).astype(np.uint8)
  items = from_labels(x, np.arange(40) % 5)
  draw = jax.vmap(lambda key: family.draw_task(key, items, 3))
  zeros = _params(family, generator.frozen, 0.0)
  weights = jax.tree.map(lambda a: np.zeros((number, 3, *a.shape)), zeros)
  bank = Bank(jax.device_get(draw(jax.random.split(KEY, number))), weights)
  source = task_source(family, [Form(3, 2)], [bank], items, KEY)

  def memory(tasks: int) -> int:
    draw = functools.partial(draw_tasks, form=0, tasks=tasks)
    compiled = jax.jit(draw).lower(KEY, source, generator).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert memory(number) < 2 * memory(1)
