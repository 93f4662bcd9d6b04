"""Leave-one-out errors in closed form, against leaving each item out."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mcdi_jax.networks import leave_one_out, ridge_head, ridge_head_loo, ridge_path
from mcdi_jax.networks.head import apply_head

RNG = np.random.default_rng(0)
PENALTIES = jnp.asarray([0.03, 1.0, 30.0])
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def _task(width: int) -> tuple[Array, Array]:
  x = RNG.normal(size=(len(LABELS), width)) + 2 * RNG.normal(size=(3, width))[LABELS]
  return jnp.asarray(x, jnp.float32), jnp.eye(3)[LABELS]


def _errors(x: Array, member: Array, penalties: Array = PENALTIES) -> Array:
  return jnp.stack([leave_one_out(x, member, penalty)[0] for penalty in penalties])


@pytest.mark.parametrize("width", [4, 20])
def test_errors_are_those_of_heads_that_did_not_see_the_item(width: int):
  """With more dimensions than items and with fewer."""
  x, member = _task(width)
  found = _errors(x, member)
  for r, penalty in enumerate(PENALTIES):
    for i in range(len(x)):
      error = _without(x, member, i, penalty)
      np.testing.assert_allclose(found[r, i], error, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("width", [4, 20])
def test_items_and_classes_that_do_not_count_change_nothing(width: int):
  x, member = _task(width)
  filled = jnp.concatenate([x, jnp.zeros((3, width))])
  more = jnp.concatenate([member, jnp.zeros((3, 3))])
  found = _errors(filled, more)
  np.testing.assert_allclose(found[:, :8], _errors(x, member), rtol=5e-3)
  assert not found[:, 8:].any()
  absent = jnp.pad(member, ((0, 0), (0, 2)))
  np.testing.assert_allclose(_errors(x, absent), _errors(x, member), rtol=5e-3)
  for plain, padded in zip(
    ridge_head_loo(x, member, 1.0)["head"].values(),
    ridge_head_loo(filled, more, 1.0)["head"].values(),
    strict=True,
  ):
    np.testing.assert_allclose(padded, plain, rtol=1e-3, atol=1e-4)


def test_the_chosen_penalty_has_the_least_error():
  """Of those it tries no other makes a better head on the items left out."""
  x, member = _task(20)
  head = ridge_head_loo(x, member, 1.0)
  square = jnp.mean(jnp.sum((x - x.mean(0)) ** 2, 1))
  tried = jnp.geomspace(1e-3, 1e2, 11) * square
  best = tried[jnp.argmin(_errors(x, member, tried).sum(1))]
  expected = ridge_head(x, member, best)
  np.testing.assert_allclose(head["head"]["kernel"], expected["head"]["kernel"], rtol=1e-4)


def test_with_one_item_of_each_class_the_penalty_is_the_given_one():
  x, member = _task(20)
  single = jnp.array([0, 3, 5])
  found = ridge_head_loo(x[single], member[single], 2.5)
  expected = ridge_head(x[single], member[single], 2.5)
  np.testing.assert_allclose(found["head"]["kernel"], expected["head"]["kernel"], rtol=1e-5)


@pytest.mark.parametrize("width", [4, 20])
def test_an_item_alone_in_its_class_has_no_say_in_the_penalty(width: int):
  """Of its class nothing would be left; the other items choose, by their errors alone."""
  x, member = _task(width)
  some = jnp.array([0, 1, 2, 3, 4, 5])  # three of a class, two, and one
  found = ridge_path(x[some], member[some])
  errors = _errors(x[some], member[some], found.penalties)[:, :5].sum(1)
  np.testing.assert_allclose(found.errors, errors, rtol=1e-3, atol=1e-5)
  assert not found.alone
  head = ridge_head_loo(x[some], member[some], 2.5)
  best = ridge_head(x[some], member[some], found.penalties[jnp.argmin(errors)])
  np.testing.assert_allclose(head["head"]["kernel"], best["head"]["kernel"], rtol=1e-4)


def test_a_mean_over_penalties_is_between_the_best_and_all():
  """Very sharp weights choose the best λ; weights that know nothing, the plain mean; with
  one item of each class all have the λ that is given."""
  x, member = _task(20)
  best = ridge_head_loo(x, member, 1.0)["head"]["kernel"]
  sharp = ridge_head_loo(x, member, 1.0, 1e6)["head"]["kernel"]
  np.testing.assert_allclose(sharp, best, rtol=1e-3, atol=1e-5)
  square = jnp.mean(jnp.sum((x - x.mean(0)) ** 2, 1))
  every = [ridge_head(x, member, p * square) for p in np.geomspace(1e-3, 1e2, 11)]
  mean = np.mean([head["head"]["kernel"] for head in every], 0)
  flat = ridge_head_loo(x, member, 1.0, 0.0)["head"]["kernel"]
  np.testing.assert_allclose(flat, mean, rtol=1e-3, atol=1e-5)
  few = jnp.zeros_like(member).at[jnp.array([0, 3, 5])].set(member[jnp.array([0, 3, 5])])
  for sharpness in (jnp.inf, 3.0):
    found = ridge_head_loo(x, few, 0.7, sharpness)["head"]["kernel"]
    expected = ridge_head(x, few, 0.7)["head"]["kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("width", [4, 20])
def test_what_is_explained_is_a_share_of_the_targets_variance(width: int):
  """By hand for the best λ; nothing where labels are of other items, all where classes lie
  far apart; items and classes that do not count change nothing."""
  x, member = _task(width)
  found = ridge_path(x, member)
  errors = [np.mean([_without(x, member, i, p) for i in range(8)]) for p in found.penalties]
  y = 2 * np.asarray(member) - 1
  none = np.mean([(y[i] - np.delete(y, i, 0).mean(0)) ** 2 for i in range(8)])
  np.testing.assert_allclose(found.explained, max(1 - min(errors) / none, 0), atol=2e-3)
  assert ridge_path(x[jnp.array([3, 6, 0, 1, 7, 2, 4, 5])], member).explained < 0.2
  assert ridge_path(x + 100 * member @ jnp.eye(3, width), member).explained > 0.98
  filled = jnp.pad(x, ((0, 3), (0, 0))), jnp.pad(member, ((0, 3), (0, 2)))
  np.testing.assert_allclose(ridge_path(*filled).explained, found.explained, atol=2e-3)


def _without(x: Array, member: Array, i: int, penalty: Array) -> float:
  """The squared error on item i of a head that did not see it."""
  rest = np.arange(len(x)) != i
  head = ridge_head(x[rest], member[rest], penalty)
  return np.mean((apply_head(head, x[i : i + 1])[0] - (2 * member[i] - 1)) ** 2)
