import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.diffusion import (
  OBJECTIVES,
  SAMPLERS,
  Example,
  Schedule,
  chain,
  make_segments,
  sample_chain,
)
from mcdi_jax.diffusion.loss import naive_example, published_example, windowed_example

STEPS, SHAPE, NUMBER = 20, (2, 2), 8000
ALPHA = np.linspace(0.25, 0.98, STEPS)


def make_chain(segments):
  return chain(Schedule(jnp.asarray(ALPHA)), make_segments(STEPS, segments))


def make_targets(segments):
  return jnp.asarray(np.random.default_rng(1).normal(size=(segments, *SHAPE)))


def normal(key):
  return jax.random.normal(key, SHAPE)


@functools.cache
def drawn(name, handover=0.0):
  """Many examples of k = 3. Without `jit`, so that all share what is compiled and equal
  draws are equal to the last digit."""
  draw = {"published": published_example, "windowed": windowed_example}[name]
  draw = functools.partial(draw, handover=handover) if handover else draw
  keys = jax.random.split(jax.random.key(3), NUMBER)
  found = jax.vmap(lambda k: draw(k, make_targets(3), make_chain(3), normal))(keys)
  return jax.tree.map(np.asarray, found)


def examples_by_hand(name, hand):
  """For every (i, t) that the objective may draw, in float64."""
  rng = np.random.default_rng(6)
  targets = np.asarray(rng.normal(size=(len(hand.boundaries), *SHAPE)))
  found = []
  for i, stop in enumerate(hand.boundaries):
    for t in range(stop):
      if name == "published" or i == hand.segment[t]:
        a, eps = hand.alpha_bar[i, t], rng.normal(size=SHAPE)
        x = np.sqrt(a) * targets[i] + np.sqrt(1 - a) * eps
        found.append(Example(i, t, x, targets[i], eps))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def residuals(name, form, outputs, examples, segments):
  """Of the package, for outputs and examples with a leading axis."""
  objective, the_chain = OBJECTIVES[name, form], make_chain(segments)
  each = lambda o, e: objective.residual(o, e, the_chain, objective.form)  # noqa: E731
  return jax.vmap(each)(jnp.asarray(outputs), jax.tree.map(jnp.asarray, examples))


def residual_by_hand(name, form, output, example, hand):
  """`method.md` 2 and 3.5, written out in numpy for one example."""
  i, t = int(example.i), int(example.t)
  own, ahead, last = hand.own[t], hand.alpha_bar[i, t], hand.alpha_bar[-1, t]
  x, theta, eps = (np.asarray(a) for a in (example.x, example.theta, example.eps))
  if name != "published" and form == "preconditioned":
    return output - (theta - np.sqrt(own) * x) / np.sqrt(1 - own)
  f = output
  if form == "preconditioned":
    theta_hat = np.sqrt(own) * x + np.sqrt(1 - own) * output
    eps_hat = (x - np.sqrt(own) * theta_hat) / np.sqrt(1 - own)
    f = np.sqrt(1 - last) / np.sqrt(1 - own) * eps_hat
  return np.sqrt(1 - ahead) * f - np.sqrt(1 - last) * eps


@pytest.mark.parametrize(("name", "form"), list(OBJECTIVES))
def test_residuals_agree_with_the_formulas(name, form, by_hand):
  hand = by_hand(ALPHA, 3)
  examples = examples_by_hand(name, hand)
  outputs = np.random.default_rng(2).normal(size=examples.x.shape)
  with jax.enable_x64(True):
    found = residuals(name, form, outputs, examples, 3)
  for n, output in enumerate(outputs):
    example = jax.tree.map(lambda a, n=n: a[n], examples)
    expected = residual_by_hand(name, form, output, example, hand)
    # float64 rounding; by hand, digits go where x − √ᾱ θ̂ nearly cancels
    np.testing.assert_allclose(found[n], expected, atol=1e-12)


@pytest.mark.parametrize("name", ["published", "windowed"])
def test_examples_are_noised_targets(name, by_hand):
  """x = √ᾱ^i_t θ_{id} + √(1−ᾱ^i_t) ε with θ the target of i and t < b_i."""
  hand, e = by_hand(ALPHA, 3), drawn(name)
  assert (e.t < np.array(hand.boundaries)[e.i]).all()
  np.testing.assert_array_equal(e.theta, np.asarray(make_targets(3))[e.i])
  a = hand.alpha_bar[e.i, e.t][:, None, None]
  expected = np.sqrt(a) * e.theta + np.sqrt(1 - a) * e.eps
  np.testing.assert_allclose(e.x, expected, atol=1e-5)  # float32 rounding
  # standard normal: 5 sd of the mean and of the mean square
  assert abs(np.mean(e.eps)) < 5 / np.sqrt(e.eps.size)
  assert abs(np.mean(e.eps**2) - 1) < 5 * np.sqrt(2 / e.eps.size)


def test_published_draws_target_then_step_uniformly(by_hand):
  hand, e = by_hand(ALPHA, 3), drawn("published")
  for i, stop in enumerate(hand.boundaries):
    held = e.t[e.i == i]
    assert abs(len(held) - NUMBER / 3) < 5 * np.sqrt(NUMBER * 2 / 9)  # 5 sd
    count = np.bincount(held, minlength=STEPS)
    assert (count[stop:] == 0).all()
    assert (abs(count[:stop] - len(held) / stop) < 5 * np.sqrt(len(held) / stop)).all()


def test_windowed_draws_steps_uniformly_and_takes_their_own_segment(by_hand):
  hand, e = by_hand(ALPHA, 3), drawn("windowed")
  np.testing.assert_array_equal(e.i, hand.segment[e.t])
  count = np.bincount(e.t, minlength=STEPS)
  assert (abs(count - NUMBER / STEPS) < 5 * np.sqrt(NUMBER / STEPS)).all()  # 5 sd


def test_naive_draws_take_every_target_for_the_end_of_the_chain(by_hand):
  """i and t uniform and independent; x = √ᾱ_t θ_{id} + √(1−ᾱ_t) ε with ᾱ of the whole
  chain, whichever target it is (`method.md` 3.14)."""
  hand, targets = by_hand(ALPHA, 1), make_targets(3)
  keys = jax.random.split(jax.random.key(3), NUMBER)
  draw = jax.vmap(lambda k: naive_example(k, targets, make_chain(1), normal))
  e = jax.tree.map(np.asarray, draw(keys))
  assert (e.i == 0).all()  # the one segment
  which = (e.theta[:, None] == np.asarray(targets)).all((2, 3)).argmax(1)
  np.testing.assert_array_equal(e.theta, np.asarray(targets)[which])
  count = np.zeros((3, STEPS))
  np.add.at(count, (which, e.t), 1)
  mean = NUMBER / count.size
  assert (abs(count - mean) < 5 * np.sqrt(mean)).all()  # 5 sd
  a = hand.alpha_bar[0, e.t][:, None, None]
  expected = np.sqrt(a) * e.theta + np.sqrt(1 - a) * e.eps
  np.testing.assert_allclose(e.x, expected, atol=1e-5)  # float32 rounding
  assert abs(np.mean(e.eps**2) - 1) < 5 * np.sqrt(2 / e.eps.size)


@pytest.mark.parametrize("name", ["published", "windowed"])
def test_one_segment_is_vanilla_diffusion(name, by_hand):
  """k = 1: the squared residual is (1−ᾱ_t) ‖f − ε‖², for both losses."""
  hand = by_hand(ALPHA, 1)
  examples = examples_by_hand(name, hand)
  f = np.random.default_rng(2).normal(size=examples.x.shape)
  with jax.enable_x64(True):
    found = np.sum(residuals(name, "plain", f, examples, 1) ** 2, (1, 2))
  weight = 1 - hand.alpha_bar[0, examples.t]
  expected = weight * np.sum((f - examples.eps) ** 2, (1, 2))
  np.testing.assert_allclose(found, expected, rtol=1e-12)  # float64 rounding


def test_one_segment_makes_published_and_windowed_one_loss(by_hand):
  """The same (x, t, ε), and the same residual to the last digit."""
  examples = examples_by_hand("published", by_hand(ALPHA, 1))
  jax.tree.map(
    np.testing.assert_array_equal,
    examples,
    examples_by_hand("windowed", by_hand(ALPHA, 1)),
  )
  f = np.random.default_rng(2).normal(size=examples.x.shape)
  with jax.enable_x64(True):
    both = [residuals(name, "plain", f, examples, 1) for name in ("published", "windowed")]
  np.testing.assert_array_equal(*both)


@pytest.mark.parametrize(("name", "form"), list(OBJECTIVES))
def test_the_oracle_leaves_no_residual(name, form, by_hand):
  """The network that knows θ: zero wherever the target is that of the step's own
  segment; the published loss asks the same of plain f for every target ahead."""
  hand = by_hand(ALPHA, 3)
  e = examples_by_hand(name, hand)
  aimed = hand.alpha_bar[e.i, e.t][:, None, None]
  own = hand.own[e.t][:, None, None]
  last = hand.alpha_bar[-1, e.t][:, None, None]
  if form == "plain":
    output = np.sqrt((1 - last) / (1 - aimed)) * e.eps
  else:  # the F whose ε̂ of the own segment is the one of the aim, scaled as f is
    eps_hat = np.sqrt((1 - own) / (1 - aimed)) * e.eps
    theta_hat = (e.x - np.sqrt(1 - own) * eps_hat) / np.sqrt(own)
    output = (theta_hat - np.sqrt(own) * e.x) / np.sqrt(1 - own)
  with jax.enable_x64(True):
    found = residuals(name, form, output, e, 3)
  np.testing.assert_allclose(found, 0, atol=1e-11)  # float64 rounding


def windowed_path(targets, hand):
  """ε → x_1 … x_T of the deterministic sampler with point targets, from
  √ᾱ^1_0 θ_d + √(1−ᾱ^1_0) ε."""
  own, targets = jnp.float32(hand.own), jnp.float32(targets)

  def predict(x, t):
    theta = targets[jnp.asarray(hand.segment)[t]]
    return (theta - jnp.sqrt(own[t]) * x) / jnp.sqrt(1 - own[t])

  def path(eps):
    start = jnp.sqrt(own[0]) * targets[0] + jnp.sqrt(1 - own[0]) * eps
    return sample_chain(
      SAMPLERS["windowed"],
      predict,
      start,
      jax.random.key(0),
      chain=make_chain(3),
      form=OBJECTIVES["windowed", "preconditioned"].form,
      draw_noise=normal,
      temperature=1.0,
    )[1]

  return jax.jit(path)


@pytest.mark.parametrize("entered", [1, 2])
def test_handover_draws_the_points_that_the_sampler_visits(entered, by_hand):
  """With ε the noise carried in segment i, x_t of a hand-over draw in segment i+1 is the
  sampler's x_t, its ε′ the noise carried there, its target that segment's own."""
  hand, e = by_hand(ALPHA, 3), drawn("windowed", 1.0)
  carried = drawn("windowed").eps  # the same keys: ε before the hand-over
  targets = np.float64(make_targets(3))
  path_of = windowed_path(targets, hand)
  seen = {int(t): n for n, t in enumerate(e.t) if e.i[n] == entered}
  assert len(seen) == np.diff([7, 13, 20])[entered - 1]  # every t of the segment
  for t, n in seen.items():
    first = np.float64(carried[n])
    if entered == 2:  # undo the change of ε at b_1, so that ε is carried in segment 2
      a = hand.alpha_bar[1, hand.boundaries[0]]
      first = first - np.sqrt(a / (1 - a)) * (targets[0] - targets[1])
    path = np.float64(path_of(np.float32(first)))
    # float32 rounding through 20 steps
    np.testing.assert_allclose(e.x[n], path[t - 1], atol=2e-5)
    np.testing.assert_array_equal(e.theta[n], np.float32(targets[entered]))
    a = hand.own[t]
    eps = (path[t - 1] - np.sqrt(a) * targets[entered]) / np.sqrt(1 - a)
    np.testing.assert_allclose(e.eps[n], eps, atol=2e-4)  # the same, over √(1−ᾱ)


def test_handover_leaves_the_first_segment_alone():
  """There is none before it."""
  plain, always = drawn("windowed"), drawn("windowed", 1.0)
  first = plain.i == 0
  assert first.any()
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a[first], b[first]), plain, always
  )


def test_a_share_of_handover_is_a_share():
  plain, half, always = (drawn("windowed", h) for h in (0.0, 0.5, 1.0))
  later = plain.i > 0
  came = (half.x != plain.x).any((1, 2))[later]
  np.testing.assert_array_equal(half.x[later][came], always.x[later][came])
  assert abs(came.mean() - 0.5) < 5 * 0.5 / np.sqrt(later.sum())  # 5 sd
  assert (always.x != plain.x).any((1, 2))[later].all()


def test_no_handover_is_the_plain_draw():
  """Also the same (t, ε) as with any share, whose luck has a key of its own."""
  found = windowed_example(
    jax.random.key(1), make_targets(3), make_chain(3), normal, handover=0.0
  )
  plain = windowed_example(jax.random.key(1), make_targets(3), make_chain(3), normal)
  jax.tree.map(np.testing.assert_array_equal, found, plain)
  np.testing.assert_array_equal(drawn("windowed").t, drawn("windowed", 1.0).t)


def test_every_pair_of_objective_and_form_is_there():
  names = ("published", "windowed", "naive")
  pairs = itertools.product(names, ("plain", "preconditioned"))
  assert set(OBJECTIVES) == set(pairs)
