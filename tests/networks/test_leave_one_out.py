"""Leave-one-out errors in closed form, against leaving each item out."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from mcdi_jax.networks import (
  leave_one_out,
  ridge_head,
  ridge_head_averaged,
  ridge_head_loo,
  ridge_path,
)
from mcdi_jax.networks.head import apply_head

RNG = np.random.default_rng(0)
PENALTIES = jnp.asarray([0.03, 1.0, 30.0])
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def _task(width: int) -> tuple[Array, Array]:
  x = RNG.normal(size=(len(LABELS), width)) + 2 * RNG.normal(size=(3, width))[LABELS]
  return jnp.asarray(x, jnp.float32), jnp.eye(3)[LABELS]


def _errors(x: Array, member: Array, penalties: Array = PENALTIES) -> Array:
  return jnp.stack([leave_one_out(x, member, penalty) for penalty in penalties])


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
  plain, padded = _chosen(x, member), _chosen(filled, more)
  np.testing.assert_allclose(padded, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("width", [4, 20])
def test_the_chosen_penalty_makes_kernels_that_say_most_of_items_left_out(width: int):
  """By hand: their part in logits on the item that a head did not see, against what the
  mean of the others leaves to say, as a squared cosine."""
  x, member = _task(width)
  found = ridge_path(x, member, spread=1e3)  # a prior that knows nothing
  expected = [_unexplained(x, member, penalty) for penalty in found.penalties]
  np.testing.assert_allclose(found.unexplained, expected, atol=2e-3)
  best = ridge_head(x, member, found.penalties[np.argmin(expected)])
  head = ridge_head_loo(x, member, found)
  np.testing.assert_allclose(head["head"]["kernel"], best["head"]["kernel"], rtol=1e-4)


@pytest.mark.parametrize("centre", [1.0, 30.0])
def test_the_prior_is_centred_and_as_wide_as_it_says(centre: float):
  """Very narrow, it alone chooses; λ one spread off it surprises by one, beside what items
  say, each of which counts; the unit is the features' own mean square."""
  x, member = _task(20)
  square = np.mean(np.sum((x - x.mean(0)) ** 2, 1))
  narrow = _chosen(x, member, centre, 1e-3)
  expected = ridge_head(x, member, centre * square)["head"]["kernel"]
  np.testing.assert_allclose(narrow, expected, rtol=1e-4, atol=1e-6)
  path = ridge_path(x, member, centre, 0.5)
  away = np.log10(path.penalties / square / centre) / 0.5
  said = 8 * np.log(path.unexplained)
  np.testing.assert_allclose(path.surprise, said + away**2, rtol=1e-3, atol=1e-2)
  np.testing.assert_allclose(_chosen(1e3 * x, member) * 1e3, _chosen(x, member), rtol=1e-3)


def test_how_large_logits_are_has_no_say_in_the_penalty():
  """Above some λ only the size of logits still changes: squared errors call such a λ the
  worst, though heads classify alike."""
  x, member = _task(20)
  path = ridge_path(x, member)
  large = path.penalties[-1]
  kernel = ridge_head(x, member, large)["head"]["kernel"]
  direction = ridge_head(x, member, 1e4 * large)["head"]["kernel"]
  cosine = (
    jnp.sum(kernel * direction) / jnp.linalg.norm(kernel) / jnp.linalg.norm(direction)
  )
  assert cosine > 0.9999  # the order of logits no longer changes
  squared = _errors(x, member, path.penalties).sum(1)
  assert squared[-1] > 0.9 * squared.max() and path.unexplained[-1] < 0.5


def test_with_one_item_of_each_class_the_penalty_is_the_priors():
  x, member = _task(20)
  single = jnp.array([0, 3, 5])
  x, member = x[single], member[single]
  square = np.mean(np.sum((x - x.mean(0)) ** 2, 1))
  expected = ridge_head(x, member, 2.5 * square)["head"]["kernel"]
  np.testing.assert_allclose(_chosen(x, member, 2.5), expected, rtol=1e-5)


@pytest.mark.parametrize("width", [4, 20])
def test_an_item_alone_in_its_class_has_no_say_in_the_penalty(width: int):
  """Of its class nothing would be left; the other items choose, by their errors alone."""
  x, member = _task(width)
  some = jnp.array([0, 1, 2, 3, 4, 5])  # three of a class, two, and one
  found = ridge_path(x[some], member[some], spread=1e3)
  errors = [_unexplained(x[some], member[some], p, range(5)) for p in found.penalties]
  np.testing.assert_allclose(found.unexplained, errors, atol=2e-3)
  head = ridge_head_loo(x[some], member[some], found)
  best = ridge_head(x[some], member[some], found.penalties[np.argmin(errors)])
  np.testing.assert_allclose(head["head"]["kernel"], best["head"]["kernel"], rtol=1e-4)


def test_a_mean_over_penalties_is_between_the_best_and_all():
  """With much trust in the posterior it is the head of its best λ; with none, the plain
  mean; with little of both, it is by hand."""
  x, member = _task(20)
  path = ridge_path(x, member)
  mean_of = lambda trust: ridge_head_averaged(x, member, path, trust)["head"]["kernel"]  # noqa: E731
  np.testing.assert_allclose(mean_of(1e4), _chosen(x, member), rtol=1e-3, atol=1e-5)
  every = [ridge_head(x, member, p)["head"]["kernel"] for p in path.penalties]
  np.testing.assert_allclose(mean_of(0.0), np.mean(every, 0), rtol=1e-3, atol=1e-5)
  share = np.exp(-0.5 * np.float64(path.surprise - path.surprise.min()))
  expected = np.tensordot(share / share.sum(), every, 1)
  np.testing.assert_allclose(mean_of(1.0), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("width", [4, 20])
def test_what_is_explained_is_a_share_of_the_targets_variance(width: int):
  """Little where labels are of other items, all where classes lie far apart; items and
  classes that do not count change nothing."""
  x, member = _task(width)
  explained = lambda *task: 1 - ridge_path(*task).unexplained.min()  # noqa: E731
  assert explained(x[jnp.array([3, 6, 0, 1, 7, 2, 4, 5])], member) < 0.2
  assert explained(x + 100 * member @ jnp.eye(3, width), member) > 0.98
  filled = jnp.pad(x, ((0, 3), (0, 0))), jnp.pad(member, ((0, 3), (0, 2)))
  np.testing.assert_allclose(explained(*filled), explained(x, member), atol=2e-3)


def _chosen(x: Array, member: Array, *prior: float) -> Array:
  return ridge_head_loo(x, member, ridge_path(x, member, *prior))["head"]["kernel"]


def _without(x: Array, member: Array, i: int, penalty: Array) -> float:
  """The squared error on item i of a head that did not see it."""
  return np.mean((_logits(x, member, i, penalty)[0] - (2 * member[i] - 1)) ** 2)


def _unexplained(
  x: Array, member: Array, penalty: Array, items: range = range(8)
) -> np.floating:
  """1 − the squared cosine over these items of what kernels say and what is left to say."""
  both = []
  for i in items:
    logits, mean = _logits(x, member, i, penalty)
    both.append((logits - mean, 2 * member[i] - 1 - mean))
  said, left = (np.ravel(part) for part in zip(*both, strict=True))
  return 1 - max(said @ left, 0) ** 2 / (said @ said) / (left @ left)


def _logits(x: Array, member: Array, i: int, penalty: Array) -> tuple[Array, Array]:
  """Of item i by a head that did not see it; and the mean of the other items' targets."""
  rest = np.arange(len(x)) != i
  head = ridge_head(x[rest], member[rest], penalty)
  return apply_head(head, x[i : i + 1])[0], (2 * member[rest] - 1).mean(0)
