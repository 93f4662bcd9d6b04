"""Low-rank adapters inside a sentence encoder, with the head on it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.encoders.bert import BertConfig, pooled
from mcdi_jax.families import Sentences
from mcdi_jax.families.inside import plain_features
from mcdi_jax.families.sentences import FILLED
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Form, Support
from mcdi_jax.weights import leaves_by_path

KEY = jax.random.key(0)
MODEL = BertConfig(vocabulary=12, width=8, hidden=12, layers=2, heads=2, most=10)
FAMILY = Sentences(model=MODEL, rank=2, length=6, ways=(2,), shots=(2,))
LENGTHS = (6, 3, 4, 2)


def _support() -> Support:
  drawn = jax.random.randint(KEY, (4, 6), 0, 12)
  counted = jnp.arange(6) < jnp.array(LENGTHS)[:, None]
  return Support(jnp.where(counted, drawn, FILLED), jnp.array([0, 1, 0, 1]))


def _frozen() -> dict:
  frozen = FAMILY.init_frozen(KEY)
  larger = lambda leaf: 20 * leaf if leaf.ndim > 1 else leaf  # noqa: E731
  return {**frozen, "base": jax.tree.map(larger, frozen["base"])}


def _params(frozen: dict, scale: float) -> dict:
  return FAMILY.init(frozen, jax.random.key(1), _support().x, 2, scale=scale)


def test_queries_and_values_are_adapted_and_nothing_else():
  frozen = _frozen()
  paths = {f"blocks/{n}/qkv/{part}/kernel" for n in range(2) for part in (0, 2)}
  assert set(leaves_by_path(frozen["a"])) == paths
  merged = FAMILY.merge(frozen, _params(frozen, 1.0))["encoder"]
  plain, adapted = leaves_by_path(frozen["base"]), leaves_by_path(merged)
  changed = {p for p, leaf in plain.items() if (np.asarray(leaf) != adapted[p]).any()}
  assert changed == paths


def test_nothing_is_changed_at_first_and_every_leaf_matters():
  """Features of θ_0 are those of each text alone, without what fills it up."""
  frozen, x = _frozen(), _support().x
  plain = FAMILY.features(frozen, _params(frozen, 0.0), x)
  np.testing.assert_array_equal(plain, plain_features(FAMILY, frozen, x))
  for row, number, found in zip(x, LENGTHS, plain, strict=True):
    alone = row[None, :number]
    expected = pooled(MODEL, frozen["base"], alone, jnp.ones((1, number), bool))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
  leaves, tree = jax.tree.flatten(_params(frozen, 1.0)["b"])
  for n in range(len(leaves)):
    one = [leaf if i == n else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)]
    found = FAMILY.features(frozen, {"b": jax.tree.unflatten(tree, one)}, x)
    assert float(jnp.abs(found - plain).max()) > 1e-3


def test_features_are_standardised_by_what_is_usual():
  frozen, x = _frozen(), _support().x
  found = plain_features(FAMILY, FAMILY.about(frozen, x), x)
  np.testing.assert_allclose(found.mean(0), jnp.zeros(8), atol=1e-5)
  np.testing.assert_allclose(jnp.mean(jnp.sum(found**2, -1)), 1.0, atol=1e-4)


def test_texts_that_do_not_count_change_nothing():
  frozen, support = _frozen(), _support()
  params = _params(frozen, 0.5)
  x = jnp.concatenate([support.x, jnp.full((2, 6), FILLED)])
  filled = Support(x, jnp.pad(support.y, (0, 2)), jnp.arange(6) < 4)
  own, padded = (FAMILY.settled(frozen, params, s)["settled"] for s in (support, filled))
  for a, b in zip(*map(jax.tree.leaves, (own, padded)), strict=True):
    np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3)
  gradient = jax.grad(lambda p: FAMILY.fitted(frozen, p, filled)[:4].sum())(params)
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
  ("x", "message"),
  [
    (jnp.zeros((4, 5), jnp.int32), "give texts as tokens [n, 6]"),
    (jnp.zeros((4, 6)), "is float32: give tokens"),
  ],
)
def test_what_is_no_text_is_told(x: jax.Array, message: str):
  FAMILY.check_items("support.x", FAMILY.example(Form(2, 1)).x)
  with pytest.raises(InputError, match=re.escape(message)):
    FAMILY.check_items("support.x", x)


@pytest.mark.parametrize("token", [-2, 12])
def test_tokens_of_another_tokenizer_are_told(token: int):
  support = _support()
  FAMILY.check_support(support, 2)
  with pytest.raises(InputError, match="it is of another tokenizer"):
    FAMILY.check_support(support._replace(x=support.x.at[0, 0].set(token)), 2)
