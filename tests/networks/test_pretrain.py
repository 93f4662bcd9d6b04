"""Pretraining in miniature."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.data.glyphs import glyphs
from mcdi_jax.networks import conv4
from mcdi_jax.networks.objectives import episode
from mcdi_jax.networks.pretrain import (
  BackboneConfig,
  _optimiser,
  embed,
  pretraining,
)

CONFIG = BackboneConfig(width=4, steps=30, ways=8, drawings=4, group=8, rate=0.1)
NETWORK = conv4(1, CONFIG.width)


@pytest.fixture(scope="module")
def images() -> ClassSet:
  drawn = glyphs(jax.random.key(3), classes=8, per_class=6)
  return jax.tree.map(jnp.asarray, drawn)


@pytest.fixture(scope="module")
def trained(images: ClassSet):
  init, step = pretraining(NETWORK, CONFIG, images)
  state, rows = init(jax.random.key(0)), []
  for _ in range(CONFIG.steps):
    state, metrics = step(state, jax.random.key(1), images)
    rows.append(metrics)
  return state, jax.device_get(rows)


def test_the_loss_falls_and_the_accuracy_rises(trained):
  state, rows = trained
  loss = [row["loss"] for row in rows]
  assert int(state.step) == CONFIG.steps
  assert np.isfinite(loss).all()
  assert np.mean(loss[-10:]) < 0.8 * np.mean(loss[:10])
  accuracy = [row["accuracy"] for row in rows]
  assert np.mean(accuracy[-10:]) > np.mean(accuracy[:10])
  assert min(accuracy) >= 0
  assert 2 * 100 / CONFIG.ways < max(accuracy) <= 100


def test_each_step_draws_its_own_episode(trained):
  """Keys are folded from the step, so no two steps see the same."""
  _, rows = trained
  assert len({float(row["loss"]) for row in rows}) == CONFIG.steps


def test_running_statistics_follow_the_batches(trained):
  for seen in trained[0].params["statistics"]:
    assert (np.asarray(seen["var"]) > 0).all()
    assert (np.asarray(seen["var"]) != 1).all()
    assert (np.asarray(seen["mean"]) != 0).all()


def test_every_item_is_a_support_in_turn():
  """The mean over the choices of a support drawing of the textbook's 1-shot loss."""
  rng = np.random.default_rng(5)
  features = rng.normal(size=(4, 3, 6))
  with jax.enable_x64(True):
    loss, right = episode(jnp.asarray(features))
  losses, hits = [], []
  for support in range(3):
    for query in {0, 1, 2} - {support}:
      apart = features[:, None, query] - features[None, :, support]
      logits = -np.sum(apart**2, -1)
      shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
      losses.append(-np.log(np.diag(shares)))
      hits.append(logits.argmax(1) == np.arange(4))
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-12)
  np.testing.assert_allclose(right, np.mean(hits), rtol=1e-6)


def test_embed_equals_apply():
  """Item by item to rounding, with the same classes; also beyond one batch of 256."""
  pixels = np.random.default_rng(0).integers(0, 256, (261, 2, 2, 1)).astype(np.uint8)
  images = from_labels(pixels, np.arange(261) % 7)
  apply = lambda p, x: jnp.tanh(p["factor"] * x.reshape(len(x), -1))  # noqa: E731
  found = embed(apply, {"factor": jnp.float32(3)}, images)
  assert found.x.dtype == jnp.float32
  expected = np.tanh(3.0 * pixels.reshape(261, 4) / 255)
  np.testing.assert_allclose(found.x, expected, rtol=1e-5)
  np.testing.assert_array_equal(found.index, images.index)
  np.testing.assert_array_equal(found.count, images.count)


@pytest.mark.parametrize("steps", [40, 2000])
def test_rates_rise_for_a_hundred_steps_and_fall_to_0(steps: int):
  """Muon's on kernels, a tenth of it on gains and biases: under a gradient that never
  changes Adam's steps are the rate itself, but for Nesterov's look ahead at first; Muon's
  are the rate times one matrix."""
  config = BackboneConfig(width=4, steps=steps, rate=0.5)
  optimiser = _optimiser(config)
  params = [{"kernel": jnp.ones((3, 3, 2, 4)), "gain": jnp.ones(4)}]
  luck = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
  gradient = [{"kernel": jnp.float32(luck), "gain": jnp.ones(4)}]

  def step(state: Any, _: Any) -> Any:
    updates, state = optimiser.update(gradient, state, params)
    move = jax.tree.map(lambda u: jnp.linalg.norm(u.ravel()), updates)
    return state, (move[0]["kernel"], -updates[0]["gain"][0])

  init = optimiser.init(params)
  kernel, gain = jax.jit(lambda s: jax.lax.scan(step, s, None, steps)[1])(init)
  rise, n = min(100, steps // 10), np.arange(steps)
  fall = 0.5 * (1 + np.cos(np.pi * (n - rise) / (steps - rise)))
  expected = np.where(n < rise, n / rise, fall)
  m, ahead = 1 - 0.9 ** (n + 1), 1 - 0.9 ** (n + 2)
  nesterov = 0.9 * m / ahead + 0.1 / m
  np.testing.assert_allclose(gain, 0.05 * expected * nesterov, atol=1e-5)
  np.testing.assert_allclose(kernel / kernel.max(), expected, atol=1e-3)
  assert kernel.max() > 4 * gain.max()


def test_statistics_are_a_running_mean_of_the_given_memory(images: ClassSet):
  """m · before + (1 − m) · seen: what the same episode leaves of two beginnings differs
  by m times their difference."""
  init, step = pretraining(NETWORK, CONFIG, images)
  found = []
  for shift in (0.0, 10.0):
    state = init(jax.random.key(0))
    moved = jax.tree.map(lambda leaf, s=shift: leaf + s, state.params["statistics"])
    state = state._replace(params={**state.params, "statistics": moved})
    state, _ = step(state, jax.random.key(1), images)
    found.append(jax.device_get(state.params["statistics"]))
  for one, other in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(other - one, 10 * CONFIG.statistics_memory, rtol=1e-4)
