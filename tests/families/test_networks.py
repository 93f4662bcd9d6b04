"""Networks: all weights of a few-shot classifier, normalised by its support."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from miniature import filled

from mcdi_jax import Support, export_generate, generate
from mcdi_jax.data import from_labels
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Networks
from mcdi_jax.generator import (
  Generator,
  GeneratorSpec,
  ScoreConfig,
  compose,
  load_generator,
  save_generator,
)
from mcdi_jax.generator.specification import support_gradient
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib.errors import InputError
from mcdi_jax.methods import Known, base_alone
from mcdi_jax.tasks import Form, Protocol, mean_over_items
from mcdi_jax.weights import weight_space

WAYS = 3
SHAPE = (16, 16, 1)
FAMILY = Networks(ways=(WAYS,), shots=(2,), image_shape=SHAPE, width=4)
KEY = jax.random.key(3)
FROZEN = FAMILY.init_frozen(jax.random.key(1))
PRESENT = jnp.ones(WAYS, bool)
NEAR = {"rtol": 2e-4, "atol": 2e-5}


def _support(seed: int = 0, ways: int = WAYS, shots: int = 2) -> Support:
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(ways), shots)
  return Support(jnp.float32(rng.uniform(size=(len(labels), *SHAPE))), jnp.int32(labels))


def _params(seed: int = 0) -> Any:
  shapes = jax.eval_shape(lambda: FAMILY.init(FROZEN, KEY, None, WAYS))
  return filled(shapes, seed)


@pytest.fixture(scope="module")
def generator() -> Generator:
  spec = GeneratorSpec(
    score=ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True, summary=0),
    diffusion=DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    family=FAMILY,
    base="init",
  )
  made = jax.eval_shape(lambda: blank(spec, KEY))
  scale = jnp.linspace(0.05, 0.15, len(made.space.leaves))
  return dataclasses.replace(
    made,
    score=filled(made.score),
    frozen=FROZEN,
    space=dataclasses.replace(made.space, scale=scale),
    schedule=make_schedule(spec.diffusion),
  )


def test_the_papers_network_has_28357_weights():
  family = Networks(ways=(5,), image_shape=(28, 28, 1))
  frozen = jax.eval_shape(family.init_frozen, KEY)
  params = jax.eval_shape(lambda f: family.init(f, KEY, None, 5), frozen)
  space = weight_space(params, family.cuts)
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == space.weights(5) == 28_357
  assert (space.rows(5), space.width) == (110, 288)


def test_what_a_query_is_told_depends_on_the_support_and_not_on_other_queries():
  support, queries = _support(), _support(1).x
  params = FAMILY.settled(FROZEN, _params(), support)
  together = FAMILY.apply(FROZEN, params, queries)
  alone = [FAMILY.apply(FROZEN, params, x[None])[0] for x in queries]
  np.testing.assert_allclose(together, np.stack(alone), **NEAR)
  other = FAMILY.settled(FROZEN, params, _support(2))
  assert not np.allclose(FAMILY.apply(FROZEN, other, queries), together, rtol=1e-2)


def test_fitted_is_settled_and_applied_to_the_same_items():
  support = _support()
  fitted = FAMILY.fitted(FROZEN, _params(), support)
  params = FAMILY.settled(FROZEN, _params(), support)
  np.testing.assert_allclose(fitted, FAMILY.apply(FROZEN, params, support.x), **NEAR)


def test_masked_items_change_nothing():
  """Neither the statistics, nor the condition, nor the gradient."""
  support, rng = _support(), np.random.default_rng(9)
  more = jnp.float32(rng.uniform(size=(4, *SHAPE))).at[0, 0, 0].set(jnp.nan)
  x, y = jnp.concatenate([support.x, more]), jnp.append(support.y, jnp.zeros(4, jnp.int32))
  padded = Support(x, y, jnp.arange(10) < 6)
  settled = [FAMILY.settled(FROZEN, _params(), s) for s in (support, padded)]
  chex.assert_trees_all_close(*settled, **NEAR)
  (features, _), _ = FAMILY.condition(FROZEN, support, WAYS)
  (same, _), _ = FAMILY.condition(FROZEN, padded, WAYS)
  np.testing.assert_allclose(same[:6], features, **NEAR)
  space = weight_space(_params(), FAMILY.cuts)
  at = FAMILY.gradient_at(FROZEN, support, WAYS)
  call = lambda s: support_gradient(FAMILY, FROZEN, space, s, at, PRESENT)  # noqa: E731
  np.testing.assert_allclose(call(padded), call(support), rtol=5e-3, atol=5e-3)


def test_params_that_are_not_settled_are_refused():
  with pytest.raises(InputError, match=r"settle them on a support.*family\.settled"):
    FAMILY.apply(FROZEN, _params(), _support().x)


def test_the_gradient_is_that_of_the_loss_at_prototypes():
  """By finite differences along a direction of one leaf; every leaf has rms 1."""
  support, space = _support(), weight_space(_params(), FAMILY.cuts)
  at = FAMILY.base(FROZEN, "prototypes", support, WAYS)
  chex.assert_trees_all_equal(FAMILY.gradient_at(FROZEN, support, WAYS), at)
  tokens = support_gradient(FAMILY, FROZEN, space, support, at, PRESENT)
  np.testing.assert_allclose(space.leaf_rms(tokens, PRESENT), 1.0, rtol=1e-4)

  def loss(params: Any) -> Any:
    output = FAMILY.fitted(FROZEN, params, support)
    return float(mean_over_items(FAMILY.loss(output, support.y), None))

  found = space.decode(tokens)["blocks"]["1"]["gain"]
  slopes = []
  for n in range(4):
    moved = lambda by, n=n: jax.tree_util.tree_map_with_path(  # noqa: E731
      lambda path, leaf: (
        leaf.at[n].add(by)
        if jax.tree_util.keystr(path, simple=True, separator="/") == "blocks/1/gain"
        else leaf
      ),
      at,
    )
    slopes.append((loss(moved(0.01)) - loss(moved(-0.01))) / 0.02)
  slopes = np.array(slopes) / np.sqrt(np.mean(np.square(slopes)))
  np.testing.assert_allclose(found, slopes, rtol=0.02, atol=0.02)


def test_prototypes_are_the_nearest_means_of_the_features():
  support, queries = _support(), _support(1)
  method = base_alone(Known(FAMILY, FROZEN), "prototypes")
  params = method.adapt(method.variables, support, KEY, WAYS)
  logits = method.predict(method.variables, params, queries.x)
  head = lambda w: {"kernel": w, "bias": jnp.zeros(w.shape[1])}  # noqa: E731
  eye = {**params, "head": head(jnp.eye(FAMILY.features))}
  seen, asked = (FAMILY.apply(FROZEN, eye, x) for x in (support.x, queries.x))
  means = seen.reshape(WAYS, 2, -1).mean(1)
  nearest = jnp.argmin(jnp.sum((asked[:, None] - means) ** 2, -1), 1)
  np.testing.assert_array_equal(logits.argmax(1), nearest)


def test_permuting_the_classes_permutes_the_head(generator: Generator):
  """And leaves the blocks as they are: θ_0, its gradient and its features name no class."""
  support, order = _support(), jnp.array([2, 0, 1])
  params = generate(generator, support, KEY)
  turned = generate(generator, support._replace(y=order[support.y]), KEY)
  np.testing.assert_allclose(
    turned["head"]["kernel"][:, order], params["head"]["kernel"], rtol=2e-3, atol=1e-4
  )
  chex.assert_trees_all_close(turned["blocks"], params["blocks"], rtol=2e-3, atol=1e-4)


def test_generated_params_are_settled_and_compositions_keep_them_so(generator: Generator):
  """Steps make them better on the support, for which they are settled anew."""
  support = _support()
  params = generate(generator, support, KEY)
  assert set(params) == {"blocks", "head", "statistics"}
  twice = compose.ensemble(generator, samples=2)
  (several,) = generate(compose.refine(twice, steps=5, rate=0.1), support, KEY)

  def loss(params: Any) -> Any:
    output = FAMILY.apply(FROZEN, params, support.x)
    return mean_over_items(FAMILY.loss(output, support.y), None)

  for n in range(2):  # at τ = 0 they are the same
    own = jax.tree.map(lambda leaf, n=n: leaf[n], several)
    assert loss(own) < loss(params) - 0.005
    chex.assert_trees_all_close(own, FAMILY.settled(FROZEN, own, support), **NEAR)


def test_the_condition_is_read_and_the_gradient_too(generator: Generator):
  support = _support()
  tokens = generator.condition(support, WAYS).context.by_place
  other = generator.condition(_support(5), WAYS).context.by_place
  assert not np.allclose(tokens, other, atol=1e-3)


def test_saved_and_loaded(generator: Generator, tmp_path: Any):
  save_generator(tmp_path / "g", generator)
  found = load_generator(tmp_path / "g")
  assert found.spec == generator.spec
  params = [generate(g, _support(), KEY) for g in (generator, found)]
  chex.assert_trees_all_equal(*params)


def test_in_an_exported_file_what_only_fills_up_changes_nothing(
  generator: Generator, tmp_path: Any
):
  """Neither statistics nor gradients: an item whose label is no class does not count."""
  path, support = tmp_path / "f.jax", _support()
  here = jax.default_backend().replace("gpu", "cuda")
  export_generate(path, generator, ways=WAYS, shots=2, platforms=(here,))
  call = jax.export.deserialize(bytearray(path.read_bytes())).call
  given = support.y.at[1].set(-1)  # one of two of its class
  found = call(support.x, given, jax.random.key_data(KEY))
  own = Support(*(part[given >= 0] for part in support[:2]))
  expected = traverse_util.flatten_dict(generate(generator, own, KEY, ways=WAYS), sep="/")
  chex.assert_trees_all_close(found, expected, **NEAR)


def test_tasks_are_those_of_heads():
  """Support and queries are disjoint; bytes are given as shares of 1; preparation has all
  drawings of the classes, and what fills up a class does not count."""
  labels = np.repeat(np.arange(4), [6, 6, 6, 5])
  numbers = np.arange(23, dtype=np.uint8)[:, None, None, None]
  images = np.broadcast_to(numbers, (23, *SHAPE))
  items = jax.tree.map(jnp.asarray, from_labels(images, labels))
  task = FAMILY.draw_task(KEY, items, WAYS)
  support, query = FAMILY.examples(KEY, items, task, Protocol(WAYS, 2, 3))
  number = lambda x: np.asarray(jnp.round(255 * x[:, 0, 0, 0]), int)  # noqa: E731
  assert not set(number(support.x)) & set(number(query.x))
  np.testing.assert_array_equal(labels[number(query.x)], np.asarray(task)[query.y])
  given = FAMILY.support(KEY, items, task, 2)
  np.testing.assert_array_equal(labels[number(given.x)], np.asarray(task)[given.y])
  settings = {"shots": 2, "queries": 0}
  gathered = FAMILY.preparation_items(KEY, FAMILY.versions(items), task, "all", **settings)
  batch = FAMILY.preparation_batch(KEY, gathered)
  counts = np.asarray(batch.weight) > 0
  seen = number(batch.x)[counts]
  np.testing.assert_array_equal(labels[seen], np.asarray(task)[batch.y][counts])
  assert sorted(seen) == [n for n in range(23) if labels[n] in np.asarray(task)]
  assert FAMILY.largest == Form(WAYS, 2)
