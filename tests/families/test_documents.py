"""Adapters of a language model for a document."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.families import DocumentItems, Documents
from mcdi_jax.generator import GeneratorSpec, ScoreConfig, generate
from mcdi_jax.generator.storage import blank, load_generator, save_generator
from mcdi_jax.lib.errors import InputError
from mcdi_jax.methods import Known, best_of_sources, in_context, source_adapters
from mcdi_jax.networks.llama import LlamaConfig, logits
from mcdi_jax.tasks import Protocol, Support, mean_over_items

KEY = jax.random.key(0)
MODEL = LlamaConfig(
  vocabulary=20, width=8, hidden=12, layers=2, heads=4, groups=2, size=2, most=64
)
FAMILY = Documents(model=MODEL, rank=1, window=4, shots=(2,))
IDS = np.random.default_rng(0).integers(2, 20, (3, 16)).astype(np.int32)
ITEMS = DocumentItems(jnp.asarray(IDS), jnp.array([0, 1, 1]))


def _frozen() -> dict:
  return FAMILY.init_frozen(KEY)


def test_windows_follow_each_other_and_each_token_is_predicted_once():
  task = FAMILY.examples(KEY, ITEMS, jnp.int32(1), Protocol(1, 2, 2))
  parts = [task.support.y, task.query.y]
  np.testing.assert_array_equal(jnp.concatenate(parts).reshape(-1), IDS[1])
  for x, y in (task.support[:2], task.query[:2]):
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert (x[:, 0] == FAMILY.first).all()


def test_a_part_of_a_document_begins_anywhere_in_it():
  """And ends in it: what fills up a row is never seen."""
  length = jnp.array([20, 9, 8])
  items = DocumentItems(jnp.arange(60).reshape(3, 20), ITEMS.source, length, reach=8)
  draw = lambda task: jax.vmap(  # noqa: E731
    lambda k: FAMILY.examples(k, items, jnp.int32(task), Protocol(1, 1, 1))
  )(jax.random.split(KEY, 64))
  for task, starts in ((0, range(13)), (1, range(2)), (2, range(1))):
    support, query = draw(task)
    tokens = np.concatenate([support.y, query.y], 1).reshape(64, 8)
    np.testing.assert_array_equal(tokens - tokens[:, :1], np.tile(np.arange(8), (64, 1)))
    assert {*(tokens[:, 0] - 20 * task)} == {*starts}


def test_a_support_is_the_same_however_many_queries_are_asked():
  """That of the bank's trajectory is drawn again, by its key, as the condition."""
  length = jnp.array([20, 18, 17])
  items = DocumentItems(jnp.arange(60).reshape(3, 20), ITEMS.source, length, reach=16)
  for key in jax.random.split(KEY, 8):
    kept = FAMILY.support(key, items, jnp.int32(0), 1)
    for queries in (1, 2, 3):
      batch = FAMILY.preparation_items(
        key, items, jnp.int32(0), "support_and_query", shots=1, queries=queries
      )
      np.testing.assert_array_equal(batch.x[:1], kept.x)
      np.testing.assert_array_equal(batch.y[:1], kept.y)
  with pytest.raises(InputError, match="items.reach is 16: raise it"):
    FAMILY.support(KEY, items, jnp.int32(0), 4)


@pytest.mark.parametrize("view", [2, 6])
def test_what_is_in_view_is_seen_and_not_scored(view: int):
  """Before a document's beginning there is nothing but how a text begins."""
  x, y = FAMILY.windows(jnp.asarray(IDS[0]), 4, view)
  for n in range(4):
    scored = np.flatnonzero(y[n] >= 0)
    np.testing.assert_array_equal(y[n][scored], IDS[0, 4 * n : 4 * n + 4])
    np.testing.assert_array_equal(scored, view + np.arange(4))
    before = max(0, 4 * n - view)
    seen = IDS[0, before : 4 * n + 3]
    np.testing.assert_array_equal(x[n][-len(seen) :], seen)
    assert (x[n][: -len(seen)] == FAMILY.first).all()


def test_queries_may_have_a_view_and_supports_have_none():
  """The same tokens are scored in both."""
  protocol = Protocol(1, 2, 2)
  plain, seen = (
    FAMILY.examples(KEY, dataclasses.replace(ITEMS, view=v), jnp.int32(1), protocol)
    for v in (0, 3)
  )
  np.testing.assert_array_equal(seen.support.x, plain.support.x)
  assert seen.query.x.shape == (2, 7)
  np.testing.assert_array_equal(seen.query.y[:, 3:], plain.query.y)
  np.testing.assert_array_equal(seen.query.x[:, 1:4], [IDS[1, 5:8], IDS[1, 9:12]])


def test_the_loss_is_that_of_the_tokens_that_are_scored():
  frozen = _frozen()
  params = FAMILY.init(frozen, KEY, IDS, 1, scale=0.3)
  x, y = FAMILY.windows(jnp.asarray(IDS[0]), 3, 3)
  found = FAMILY.loss(FAMILY.apply(frozen, params, x), y)
  log = jax.nn.log_softmax(logits(MODEL, FAMILY.merge(frozen, params), x))
  expected = [
    -np.mean([log[n, t, y[n, t]] for t in range(7) if y[n, t] >= 0]) for n in range(3)
  ]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_theta_0_is_the_model_and_each_adapter_changes_it():
  frozen = _frozen()
  x = jnp.asarray(IDS)
  plain = logits(MODEL, frozen["base"], x)
  zero = FAMILY.init(frozen, KEY, x, 1)
  np.testing.assert_array_equal(FAMILY.apply(frozen, zero, x), plain)
  leaves, tree = jax.tree.flatten(zero)
  assert len(leaves) == 7 * MODEL.layers
  for n in range(len(leaves)):
    one = [leaf + 0.5 * (i == n) for i, leaf in enumerate(leaves)]
    found = FAMILY.apply(frozen, jax.tree.unflatten(tree, one), x)
    assert float(jnp.abs(found - plain).max()) > 1e-4
  own = dataclasses.replace(FAMILY, adapted="blocks/*/[qv]")
  assert len(jax.tree.leaves(own.frozen(frozen["base"], KEY)["init"])) == 4


def test_a_is_adapted_where_that_is_asked_for():
  """It is added to the A that is drawn; at θ_0 the loss has no gradient in it."""
  family = dataclasses.replace(FAMILY, adapt_a=True)
  frozen, support = family.init_frozen(KEY), family.as_support(IDS[0, :8])
  zero = family.init(frozen, KEY, support.x, 1)
  assert zero.keys() == {"a", "b"}
  x = support.x
  plain = logits(MODEL, frozen["base"], x)
  np.testing.assert_array_equal(family.apply(frozen, zero, x), plain)

  def loss(params: dict) -> Array:
    return family.loss(family.fitted(frozen, params, support), support.y).mean()

  params = family.init(frozen, KEY, x, 1, scale=0.3)
  for at, nothing in ((zero, True), (params, False)):
    of_a = [float(jnp.abs(g).max()) for g in jax.tree.leaves(jax.grad(loss)(at)["a"])]
    assert max(of_a) == 0 if nothing else min(of_a) > 0
  own = family.adapters(frozen, params)
  moved = jax.tree.map(jnp.subtract, own["a"], frozen["a"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, params["a"])
  without = {**frozen, "a": own["a"]}
  found = FAMILY.apply(without, {"b": params["b"]}, x)
  np.testing.assert_allclose(family.apply(frozen, params, x), found, atol=1e-5)
  unmoved = family.apply(frozen, {**params, "a": zero["a"]}, x)
  assert float(jnp.abs(unmoved - found).max()) > 1e-4


def test_a_step_down_the_supports_gradient_helps_its_document():
  frozen = _frozen()
  support = FAMILY.examples(KEY, ITEMS, jnp.int32(0), Protocol(1, 2, 2)).support

  def loss(params: dict) -> Array:
    output = FAMILY.fitted(frozen, params, support)
    return mean_over_items(FAMILY.loss(output, support.y), None)

  zero = FAMILY.init(frozen, KEY, support.x, 1)
  before, gradient = jax.value_and_grad(loss)(zero)
  assert min(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0
  after = loss(jax.tree.map(lambda p, g: p - 0.05 * g, zero, gradient))
  assert float(after) < float(before)


@pytest.mark.parametrize("adapt_a", [False, True])
def test_generated_and_read_back(tmp_path, adapt_a: bool):
  """From a text's tokens, with its gradient as a condition; of another text other
  adapters."""
  score = ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True, summary=0)
  diffusion = DiffusionConfig(steps=3, segments=3, schedule="linear_auto")
  family = dataclasses.replace(FAMILY, adapt_a=adapt_a)
  made = blank(GeneratorSpec(score, diffusion, family, "init"), KEY)
  leaves, tree = jax.tree.flatten(made.score)
  keys = jax.random.split(KEY, len(leaves))
  drawn = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
  scale = jnp.full(len(made.space.leaves), 0.1)
  made = dataclasses.replace(
    made,
    score=jax.tree.unflatten(tree, drawn),
    space=dataclasses.replace(made.space, scale=scale),
  )
  support = FAMILY.as_support(IDS[0, :9])
  assert support.x.shape == (2, 4)
  params = generate(made, support, KEY)
  other = generate(made, FAMILY.as_support(IDS[1, :9]), KEY)
  assert params.keys() == ({"a", "b"} if adapt_a else {"b"})
  for part in params:
    one, another = (found[part]["blocks"]["0"]["q"] for found in (params, other))
    assert not np.allclose(one, another)
  save_generator(tmp_path / "g", made, {})
  again = load_generator(str(tmp_path / "g"))
  found = again.network.apply(generate(again, support, KEY), support.x)
  expected = made.network.apply(params, support.x)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  for x, said in (
    (np.zeros((2, 5), np.int32), "give windows"),
    (np.zeros((2, 4), np.float32), "give tokens, int32"),
    (np.full((2, 4), 20, np.int32), "another tokenizer"),
  ):
    with pytest.raises(InputError, match=said):
      generate(made, support._replace(x=x), KEY)
  with pytest.raises(InputError, match="the text has 3 tokens: at least 4 are needed"):
    FAMILY.as_support(IDS[0, :3])


@pytest.mark.parametrize("tokens", [3, 8])
def test_in_context_reads_the_end_of_the_support_before_a_query(tokens: int):
  """As the model would read the document on, if nothing lay between; a query that has
  tokens in view is read as it is."""
  tunable = in_context(FAMILY)
  assert tunable.space == {"tokens": (2, 4, 8)}
  frozen = _frozen()
  method = tunable.make({"tokens": tokens}, Known(FAMILY, frozen))
  task = FAMILY.examples(KEY, ITEMS, jnp.int32(0), Protocol(1, 2, 2))
  read = method.adapt(method.variables, task.support, KEY, 1)
  found = method.predict(method.variables, read, task.query.x)
  document = jnp.concatenate([jnp.array([FAMILY.first]), IDS[0, 8 - tokens : 12]])
  whole = logits(MODEL, frozen["base"], document[None])[0]
  np.testing.assert_allclose(found[0], whole[tokens:-1], atol=1e-5)
  x, _ = FAMILY.windows(jnp.asarray(IDS[0]), 4, 6)
  found = method.predict(method.variables, read, x[2:])
  np.testing.assert_allclose(found, logits(MODEL, frozen["base"], x[2:]), atol=1e-6)


def test_an_adapter_of_a_source_is_chosen_by_the_support():
  """Documents of two sources say one token each; a document of either is given the adapter
  under which it is better."""
  ids = jnp.stack([jnp.full(16, token) for token in (3, 3, 7, 7)])
  items = DocumentItems(ids, jnp.array([4, 4, 9, 9]))
  known, form = Known(FAMILY, _frozen()), Protocol(1, 2, 2)
  adapters = source_adapters(known, items, form, KEY, rate=0.02)
  method = best_of_sources(known, adapters)
  for task, own in ((0, 0), (3, 1)):
    support, query = FAMILY.examples(KEY, items, jnp.int32(task), form)
    params = method.adapt(method.variables, support, KEY, 1)
    jax.tree.map(
      lambda a, b, n=own: np.testing.assert_array_equal(a, b[n]), params, adapters
    )
    losses = [
      FAMILY.loss(FAMILY.apply(known.frozen, p, query.x), query.y).mean()
      for p in (params, known.frozen["init"])
    ]
    assert losses[0] < losses[1] - 0.1


def test_an_adapter_of_a_source_is_trained_on_all_of_its_documents():
  """Wherever in one a token stands: of a long document each step has other parts."""
  ids = jnp.repeat(jnp.array([3, 7, 11, 15]), 16)[None]
  source, form = jnp.array([4]), Protocol(1, 1, 1)
  whole = DocumentItems(ids, source, jnp.array([64]), reach=8)
  known = Known(FAMILY, _frozen())
  adapters = source_adapters(known, whole, form, KEY, rate=0.02)
  adapter = jax.tree.map(lambda leaf: leaf[0], adapters)
  for start in range(0, 64, 16):
    part = DocumentItems(ids[:, start : start + 16], source)
    query = FAMILY.examples(KEY, part, jnp.int32(0), form).query
    own, without = (
      FAMILY.loss(FAMILY.apply(known.frozen, p, query.x), query.y).mean()
      for p in (adapter, known.frozen["init"])
    )
    assert own < without - 0.1


def test_a_mask_of_windows_is_looked_at():
  x = jnp.zeros((2, 4), int)
  FAMILY.check_support(Support(x, x, jnp.array([True, False])), 1)
  for y, mask, said in (
    (x, jnp.ones(3, bool), r"support.mask is bool \(3,\): give one bool a window"),
    (x, jnp.ones(2, int), "support.mask is int"),
    (x, jnp.zeros(2, bool), "no token of support.y counts"),
    (x - 1, None, "no token of support.y counts"),
  ):
    with pytest.raises(InputError, match=said):
      FAMILY.check_support(Support(x, y, mask), 1)


def test_a_support_may_be_known_where_all_else_is_traced():
  """Of a function that is compiled with it: what is wrong is told as it is outside."""
  x = jnp.zeros((2, 4), int)

  def shapes(y: Array, mask: Array | None) -> Array:
    def traced(key: Array) -> Array:
      FAMILY.check_support(Support(x, y, mask), 1)
      return key

    return jax.eval_shape(traced, KEY)

  for mask in (None, jnp.array([True, False])):
    shapes(x, mask)
  with pytest.raises(InputError, match="no token of support.y counts"):
    shapes(x - 1, None)


def test_several_models_say_the_mean_of_their_probabilities():
  outputs = jax.random.normal(KEY, (3, 2, 4, 20))
  found = jax.nn.softmax(FAMILY.average(outputs))
  np.testing.assert_allclose(found, jax.nn.softmax(outputs).mean(0), rtol=1e-5)


@pytest.mark.parametrize(
  ("x", "y", "said"),
  [
    (np.zeros((2, 3), int), None, r"support.x has shape \(2, 3\): give windows \[n, 4\]"),
    (np.zeros((0, 4), int), None, "at least one"),
    (np.zeros((2, 4), int), np.zeros((2, 4)), "support.y is float32: give tokens"),
    (np.zeros((2, 4), int), np.full((2, 4), 20), "support.y has tokens from 20 to 20"),
    (np.full((2, 4), 20), None, "support.x has tokens from 20 to 20, .* 0 to 19"),
  ],
)
def test_what_is_no_support_of_windows_is_told(x: Array, y: Array | None, said: str):
  given = Support(jnp.asarray(x), jnp.asarray(x if y is None else y))
  with pytest.raises(InputError, match=said):
    FAMILY.check_items("support.x", given.x)
    FAMILY.check_support(given, 1)
