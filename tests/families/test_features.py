"""Heads on features of any encoder: standardised by the support, of any width."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mcdi_jax.data import from_labels
from mcdi_jax.data.class_set import twins
from mcdi_jax.diffusion import DiffusionConfig, make_schedule
from mcdi_jax.families import Features
from mcdi_jax.generator import Generator, GeneratorSpec, ScoreConfig, generate
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import MetaConfig
from mcdi_jax.meta.training import meta_training
from mcdi_jax.meta.validation import validation
from mcdi_jax.tasks import Form, Protocol, Query, Support, Task

FAMILY = Features(width=6, ways=(2, 3), shots=(1, 4))
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def _support(width: int = 6, shots: int = 4, ways: int = 3) -> Support:
  y = np.repeat(np.arange(ways), shots)
  x = RNG.normal(size=(len(y), width)) + 2 * RNG.normal(size=(ways, width))[y]
  return Support(jnp.asarray(x, jnp.float32), jnp.asarray(y))


def _generator(base: str = "none", family: Features = FAMILY) -> Generator:
  diffusion = DiffusionConfig(steps=3, schedule="linear_auto")
  score = ScoreConfig(width=8, layers=1, vectors=4, ridge=2)
  spec = GeneratorSpec(score, diffusion, family, base)
  made = blank(spec, jax.random.key(1))
  return dataclasses.replace(made, schedule=make_schedule(diffusion))


def test_size_of_features_and_of_each_item_changes_nothing():
  """Nor does a dimension without variance."""
  generator, support = _generator(), _support()
  queries = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
  params = generate(generator, support, KEY, ways=3)
  expected = generator.network.apply(params, queries)
  each = jnp.asarray(RNG.uniform(0.1, 9, size=(12, 1)), jnp.float32)
  other = generate(generator, support._replace(x=each * support.x), KEY, ways=3)
  found = generator.network.apply(other, 7 * queries)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
  flat = support._replace(x=support.x.at[:, 2].set(3.0))
  params = generate(generator, flat, KEY, ways=3)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_an_origin_takes_off_what_all_features_have_in_common():
  """Where lengths are left as they are, the size of all changes nothing."""
  support, shift = _support(), 5 * jnp.arange(6.0)
  queries = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
  plain = _generator("ridge_loo", dataclasses.replace(FAMILY, unit_length=False))
  expected = plain.network.apply(generate(plain, support, KEY, ways=3), queries)
  moved = support._replace(x=7 * support.x)
  params = generate(plain, moved, KEY, ways=3)
  found = plain.network.apply(params, 7 * queries)
  np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)
  unit = _generator()
  params = generate(unit, support, KEY, ways=3)
  expected = unit.network.apply(params, queries)
  found = unit.network.apply({**params, "origin": shift}, queries + shift)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_features_turned_and_in_more_dimensions_give_the_same_answers():
  """An isometry into another width: what a generator makes does not know the basis. The
  prototypes and ridge bases, too."""
  support = _support()
  queries = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
  turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(11, 6)))[0].T, jnp.float32)
  turned = support._replace(x=support.x @ turn)
  for base in ("none", "ridge", "ridge_loo", "prototypes"):
    generator = _generator(base)
    expected = generator.network.apply(generate(generator, support, KEY, ways=3), queries)
    params = generate(generator, turned, KEY, ways=3)
    assert params["head"]["kernel"].shape == (11, 3) and params["centre"].shape == (11,)
    found = generator.network.apply(params, queries @ turn)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_in_the_span_of_the_support_the_same_is_generated(masked: bool):
  """In more dimensions than items, as it is without any other way; the derivative, too,
  where items depend on each other."""
  generator = _generator("ridge_loo")
  x = jnp.asarray(RNG.normal(size=(6, 9)), jnp.float32)
  mask = jnp.arange(6) < 5 if masked else None
  x = x.at[3].set(x[0])
  support = Support(x, jnp.arange(6) % 3, mask)
  queries = jnp.asarray(RNG.normal(size=(5, 9)), jnp.float32)
  own = generator.of_items((9,))
  assert own.family.is_wide(support) and not own.family.is_wide(_support())

  def logits(x: jax.Array, temperature: Any) -> jax.Array:
    settings = {"temperature": temperature, "ways": 3}
    params = generator.from_features(support._replace(x=x), KEY, **settings)
    return generator.outputs(params, queries)

  found, expected = (logits(x, t) for t in (0.0, np.float32(0)))
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
  slopes = [
    jax.grad(lambda x, t=t: jnp.sum(logits(x, t) ** 2))(x) for t in (0.0, np.float32(0))
  ]
  assert np.isfinite(slopes[0]).all()
  np.testing.assert_allclose(*slopes, rtol=2e-2, atol=2e-2 * np.abs(slopes[1]).max())


def test_classes_of_unequal_size_have_equal_part_in_the_centre():
  """And in the spread; with as many items of each, items alone tell as much."""
  family, support = dataclasses.replace(FAMILY, unit_length=False), _support()
  head = {"head": {"kernel": jnp.ones((6, 3)), "bias": jnp.arange(3.0)}}
  keep = np.array([0, 4, 5, 6, 7, 8, 9])
  few = Support(support.x[keep], support.y[keep])
  params = family.settled({}, head, few)
  own = [few.x[few.y == c] for c in range(3)]
  centre = np.mean([x.mean(0) for x in own], 0)
  np.testing.assert_allclose(params["centre"], centre, rtol=1e-5)
  square = np.mean([np.mean((x - centre) ** 2) for x in own])
  np.testing.assert_allclose(params["spread"], square**0.5, rtol=1e-5)
  found = family.fitted({}, head, support)
  expected = family.apply({}, family.settled({}, head, support), support.x)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_masked_items_may_hold_anything():
  generator, support = _generator("ridge_loo"), _support()
  x = jnp.concatenate([support.x, jnp.full((2, 6), jnp.nan)])
  y = jnp.concatenate([support.y, jnp.zeros(2, support.y.dtype)])
  masked = Support(x, y, jnp.arange(len(y)) < len(support.y))
  expected = generate(generator, support, KEY, ways=3)
  found = generate(generator, masked, KEY, ways=3)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_absent_classes_change_nothing():
  """Whatever the arrays are padded to."""
  generator, support = _generator("ridge_loo"), _support()
  expected = generate(generator, support, KEY, ways=3)
  masked = support._replace(mask=jnp.ones(len(support.y), bool))
  found = generate(generator, masked, KEY, ways=6)
  kernel = found["head"]["kernel"][:, :3]
  np.testing.assert_allclose(kernel, expected["head"]["kernel"], rtol=1e-3, atol=1e-3)


def test_more_classes_than_the_limit_are_refused():
  generator = _generator("ridge_loo")
  support = Support(jnp.zeros((101, 6)), jnp.arange(101))
  with pytest.raises(InputError, match="ways is 101: features are generated for up to 100"):
    generate(generator, support, KEY, ways=101)


def test_halves_are_taken_as_what_they_say():
  """As `launch.embed --dtype float16` writes them."""
  generator, support = _generator("ridge_loo"), _support()
  halves = support._replace(x=support.x.astype(jnp.float16))
  whole = support._replace(x=halves.x.astype(jnp.float32))
  found, expected = (generate(generator, s, KEY, ways=3) for s in (halves, whole))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_bad_features_are_told():
  generator, support = _generator(), _support()
  for x, message in (
    (support.x[None], r"support.x has shape \(1, 12, 6\): give features"),
    (support.x.at[0, 0].set(jnp.nan), "support.x has NaN"),
    (support.x.astype(jnp.int32), "support.x is int32: give floats"),
    (1e20 * support.x, r"support.x has values up to \de\+\d+, whose squares"),
  ):
    with pytest.raises(InputError, match=message):
      generate(generator, support._replace(x=x), KEY, ways=3)
  with pytest.raises(InputError, match="support.y is None: give one integer label"):
    generate(generator, support._replace(y=None), KEY, ways=3)
  with pytest.raises(InputError, match="params have no centre"):
    generator.network.apply({"head": {"kernel": jnp.ones((6, 3))}}, support.x)


def test_a_task_in_the_coordinates_of_its_span_is_the_same_task():
  """Logits of its queries, and with masked items that hold anything."""
  x = jnp.asarray(RNG.normal(size=(9, 40)), jnp.float32)
  support = Support(x, jnp.arange(9) % 3, jnp.arange(9) < 8)
  query = Query(jnp.asarray(RNG.normal(size=(5, 40)), jnp.float32), jnp.arange(5) % 3)
  small = FAMILY.compact(Task(support, query))
  assert small.support.x.shape == (9, 10) and small.query.x.shape == (5, 10)
  for base in ("none", "ridge_loo"):
    generator, found = _generator(base), []
    for part in (Task(support, query), small):
      params = generate(generator, part.support, KEY, ways=3, temperature=0.0)
      found.append(generator.network.apply(params, part.query.x))
    np.testing.assert_allclose(*found, rtol=5e-3, atol=5e-3)
  assert FAMILY.compact(Task(_support(), query)).support.x.shape == (12, 6)


def _size_of_base(name: str, support: Support) -> Array:
  """The rms of its logits on the support."""
  params = FAMILY.base({}, name, support, 3)
  logits = FAMILY.apply({}, FAMILY.settled({}, params, support), support.x)
  about = logits - logits.mean(1, keepdims=True)
  return jnp.sqrt(jnp.mean(about**2))


def test_logits_of_bases_have_a_size_of_their_own():
  """Whatever λ is: where features say nothing of the classes leave-one-out chooses a large
  one, and without this the weights would vanish. That base is small, and one that answers
  for every item left out is large; of an item a class nothing can be left out."""
  x, y = _support().x, _support().y
  nothing = Support(x, jnp.arange(12) % 3)
  clear = Support(x + 30 * jax.nn.one_hot(y, x.shape[1]), y)
  for name in ("prototypes", "ridge"):
    for support in (nothing, clear):
      np.testing.assert_allclose(_size_of_base(name, support), 3.0, rtol=1e-2)
  single = Support(clear.x[::4], y[::4])
  for support, size in ((nothing, 1.0), (clear, 7.0), (single, 3.0)):
    np.testing.assert_allclose(_size_of_base("ridge_loo", support), size, rtol=5e-2)


def test_varied_tasks_have_other_singular_values():
  """Of the support about its mean, in the same directions, and the queries change alike.
  Power 1 changes nothing, and an item that does not count has no part in it."""
  support = _support(width=14)
  query = Query(support.x[:5] + 1.0, support.y[:5])
  task = Task(support._replace(mask=jnp.arange(12) < 11), query)
  same = FAMILY.varied(KEY, task, 1.0)
  for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(task), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)
  other = FAMILY.varied(KEY, task, 3.0)
  means = [x[:11].mean(0) for x in (other.support.x, support.x)]
  np.testing.assert_allclose(*means, atol=1e-4)
  about = [np.asarray(x)[:11] - np.mean(x[:11], 0) for x in (support.x, other.support.x)]
  _, before, directions = np.linalg.svd(about[0], full_matrices=False)
  turned = about[1] @ directions[:10].T
  gram = turned.T @ turned
  np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-2 * gram.max())
  ratio = np.sqrt(np.diag(gram)) / before[:10]
  assert ratio.max() > 1.3 * ratio.min()
  moved = np.asarray(other.query.x - means[0]) @ directions[:10].T
  plain = np.asarray(query.x - means[1]) @ directions[:10].T
  np.testing.assert_allclose(moved, plain * ratio, rtol=1e-2, atol=1e-2)
  hidden = support.x.at[11].set(jnp.nan)
  masked = FAMILY.varied(KEY, Task(task.support._replace(x=hidden), query), 3.0)
  np.testing.assert_allclose(masked.support.x[:11], other.support.x[:11], rtol=1e-4)


def test_a_task_across_domains_has_queries_of_another():
  """In the form that counts, packed; items without domains make tasks as they always do."""
  pairs = np.arange(72) // 6  # of class and domain
  items = from_labels(np.float32([pairs // 3, pairs % 3]).T, pairs)
  group, kind = np.arange(12) % 3, np.arange(12) // 3
  within = jax.tree.map(jnp.asarray, items._replace(group=group, twins=twins(group, kind)))
  family = Features(width=2, ways=(2, 4), shots=(1, 3), most_items=6, across=1)
  protocol, form = Protocol(4, 3, 2), Form(2, 3)
  for key in jax.random.split(KEY, 5):
    support, query = family.sample(key, within, protocol, form=form)
    assert support.y.shape == (6,) and int(support.mask.sum()) == 6
    of_support, of_query = (np.unique(part.x[part.mask][:, 1]) for part in (support, query))
    assert len(of_support) == len(of_query) == 1 and of_support != of_query
  alone = family.sample(KEY, within._replace(group=None, twins=None), protocol)
  assert alone.support.y.shape == (12,)


def test_validation_in_the_coordinates_of_the_span_is_the_same(monkeypatch):
  """With forms in larger arrays, whose rows count in part."""
  x = RNG.normal(size=(60, 40)) + 2 * RNG.normal(size=(5, 40))[np.arange(60) % 5]
  items = from_labels(np.float32(x), np.arange(60) % 5)
  items = jax.tree.map(jnp.asarray, items)
  family = dataclasses.replace(FAMILY, width=40)
  generator = _generator("ridge_loo", family)
  state = meta_training(MetaConfig(), "reptile").init(generator.score)
  forms = [Protocol(2, 1, 3), Protocol(3, 4, 3)]
  found = []
  for compact in (Features.compact, lambda self, task: task):
    monkeypatch.setattr(Features, "compact", compact)
    _, metrics = validation(forms, KEY, tasks=8)(state, generator, items)
    found.append([float(metrics[f"val_{name}"]) for name in ("2w1s", "3w4s")])
  np.testing.assert_allclose(*found, atol=1e-3)
  assert min(found[0]) > 50
