"""The token network: what it may depend on, and that settings of memory change nothing."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.generator.score import ScoreConfig
from mcdi_jax.generator.tokens import TokenNetwork, attention

CONFIG = ScoreConfig(network="tokens", width=16, layers=2, heads=2)
WAYS, OWN, WIDTH, ITEMS, IN = 3, 7, 5, 6, 4
NEAR = {"rtol": 2e-4, "atol": 2e-5}  # float32, sums in another order


def _normal(seed: int, *shape: int) -> Any:
  return jnp.float32(np.random.default_rng(seed).normal(size=shape))


X, TOKENS = _normal(0, ITEMS, IN), _normal(1, WAYS + OWN, WIDTH)
MASK = jnp.array([True] * 5 + [False])
MEMBER = jax.nn.one_hot(jnp.array([0, 1, 2, 0, 1, 2]), WAYS) * MASK[:, None]
NO_CLASSES = jnp.zeros((ITEMS, 0))


def _params(member: Any = MEMBER) -> Any:
  network = TokenNetwork(CONFIG, len(TOKENS) - member.shape[1])
  given = ((X, member, MASK), member.any(0), TOKENS, 0.5)
  shapes = network.init(jax.random.key(0), *given)
  rng = np.random.default_rng(2)  # no zeros that hide what depends on them
  return jax.tree.map(lambda p: jnp.float32(0.4 * rng.normal(size=p.shape)), shapes)


PARAMS = _params()


def _apply(
  config: ScoreConfig = CONFIG,
  x: Any = X,
  member: Any = MEMBER,
  tokens: Any = TOKENS,
) -> Any:
  network = TokenNetwork(config, OWN)
  return jax.jit(network.apply)(PARAMS, (x, member), member.any(0), tokens, 0.25)


@pytest.mark.parametrize("changes", [{"chunk": 4}, {"chunk": 1}, {"remat": True}])
def test_settings_of_memory_change_no_output(changes: dict[str, Any]):
  """Nor a gradient; 10 tokens are no multiple of 4."""
  other = dataclasses.replace(CONFIG, **changes)

  def loss(params: Any, config: ScoreConfig) -> Any:
    given = ((X, MEMBER, MASK), MEMBER.any(0), TOKENS, 0.25)
    out = TokenNetwork(config, OWN).apply(params, *given)
    return jnp.sum(out**2)

  np.testing.assert_allclose(_apply(other), _apply(), **NEAR)
  gradients = [
    jax.jit(jax.grad(loss), static_argnums=1)(PARAMS, c) for c in (CONFIG, other)
  ]
  for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * abs(a).max())


def test_bfloat16_is_the_same_to_its_rounding():
  """Params and outputs are float32; what is between takes half of the bytes."""
  found, plain = _apply(dataclasses.replace(CONFIG, compute="bfloat16")), _apply()
  assert found.dtype == jnp.float32
  error = np.sqrt(np.mean((found - plain) ** 2) / np.mean(plain**2))
  assert 1e-5 < error < 0.03


def test_what_is_masked_may_hold_anything():
  plain, wild = _apply(), _apply(x=X.at[5].set(jnp.nan))
  np.testing.assert_array_equal(plain, wild)
  left_out = _apply(x=X[:5], member=MEMBER[:5])
  np.testing.assert_allclose(left_out, plain, **NEAR)


def test_classes_are_a_set_and_items_too():
  """Permuting the classes permutes their tokens and leaves the others; the order of the
  items does not matter."""
  order, items = jnp.array([2, 0, 1]), jnp.array([3, 1, 5, 0, 2, 4])
  moved = jnp.concatenate([TOKENS[:WAYS][order], TOKENS[WAYS:]])
  found, plain = _apply(member=MEMBER[:, order], tokens=moved), _apply()
  np.testing.assert_allclose(found[:WAYS], plain[:WAYS][order], **NEAR)
  np.testing.assert_allclose(found[WAYS:], plain[WAYS:], **NEAR)
  shuffled = _apply(x=X[items], member=MEMBER[items])
  np.testing.assert_allclose(shuffled, plain, **NEAR)


def test_an_absent_class_has_no_part():
  absent = MEMBER.at[:, 1].set(0.0)
  other = TOKENS.at[1].set(100.0)
  a, b = _apply(member=absent), _apply(member=absent, tokens=other)
  np.testing.assert_allclose(jnp.delete(a, 1, 0), jnp.delete(b, 1, 0), **NEAR)


def test_every_token_depends_on_the_condition_the_others_and_its_place():
  plain = _apply()
  for changed in (
    _apply(x=X.at[0].add(1.0)),
    _apply(tokens=TOKENS.at[-1].add(1.0)),
    _apply(tokens=TOKENS.at[0].add(1.0)),
  ):
    assert (abs(changed - plain).max(1) > 1e-4).all()
  same = _apply(tokens=jnp.ones_like(TOKENS))
  distances = abs(same[WAYS:, None] - same[None, WAYS:]).max(-1)
  assert (distances + jnp.eye(OWN) > 1e-3).all()


def test_without_classes_all_tokens_have_places():
  params = _params(NO_CLASSES)
  assert params["params"]["place"].shape == (WAYS + OWN, CONFIG.width)
  given = ((X, NO_CLASSES, MASK), NO_CLASSES.any(0), TOKENS, 0.25)
  out = TokenNetwork(CONFIG, WAYS + OWN).apply(params, *given)
  assert out.shape == TOKENS.shape


def test_attention_is_the_textbooks():
  """In float64 by numpy, on either platform's form."""
  q, k, v = (_normal(n, rows, 2, 3) for n, rows in ((3, 4), (4, ITEMS), (5, ITEMS)))
  logits = np.einsum("shc,mhc->hsm", np.float64(q), np.float64(k)) / np.sqrt(3)
  weights = np.where(MASK, np.exp(logits), 0)
  weights /= weights.sum(-1, keepdims=True)
  expected = np.einsum("hsm,mhc->shc", weights, np.float64(v))
  np.testing.assert_allclose(attention(q, k, v, MASK, 0), expected, **NEAR)
  fused = jax.nn.dot_product_attention(q, k, v, mask=MASK[None, None])
  np.testing.assert_allclose(fused, expected, **NEAR)
