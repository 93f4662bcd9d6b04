import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcdi_jax.meta import MetaConfig, descend, pseudo_gradient
from mcdi_jax.meta.reptile import mean_gradient
from mcdi_jax.meta.training import outer_optimiser

TASKS, RATE = 4, 0.05


def loss(params, task, key):
  """Not quadratic, and with noise of its own for every key, as the real one."""
  noise = jax.random.normal(key, (3,))
  error = jnp.tanh(params["w"] @ (task + noise)) - params["b"]
  return jnp.sum(error**2), error


@pytest.fixture(scope="module")
def params():
  rng = np.random.default_rng(0)
  return {"w": jnp.float32(rng.normal(size=(2, 3))), "b": jnp.float32([0.3, -0.2])}


@pytest.fixture(scope="module")
def tasks():
  return jnp.float32(np.random.default_rng(1).normal(size=(TASKS, 3)))


def close(a, b, atol):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


gradient_of = jax.jit(jax.grad(lambda *args: loss(*args)[0]))


def descend_by_hand(params, task, key, steps):
  for k in jax.random.split(key, steps):
    g = gradient_of(params, task, k)
    params = jax.tree.map(lambda p, g: p - RATE * g, params, g)
  return params


def test_descend_is_a_loop_of_gradient_steps_with_fresh_draws(params, tasks):
  key = jax.random.key(3)
  total, (losses, errors) = descend(loss, params, tasks[0], key, steps=3, rate=RATE)
  found = jax.tree.map(lambda p, g: p - RATE * g, params, total)
  close(found, descend_by_hand(params, tasks[0], key, 3), 1e-6)  # float32 rounding
  assert losses.shape == (3,) and errors.shape == (3, 2)
  expected = loss(params, tasks[0], jax.random.split(key, 3)[0])
  close((losses[0], errors[0]), expected, 1e-6)  # the first is seen at φ itself


def test_pseudo_gradient_is_a_loop_over_tasks(params, tasks):
  """(φ − mean_b φ_b)/(Jη), each task with draws of its own."""
  key = jax.random.key(4)
  found, (losses, _) = pseudo_gradient(loss, params, tasks, key, steps=3, rate=RATE)
  adapted = [
    descend_by_hand(params, task, k, 3)
    for task, k in zip(tasks, jax.random.split(key, TASKS), strict=True)
  ]
  mean = jax.tree.map(lambda *leaves: sum(leaves) / TASKS, *adapted)
  expected = jax.tree.map(lambda p, q: (p - q) / (3 * RATE), params, mean)
  close(found, expected, 1e-5)  # float32 rounding of φ, divided by Jη = 0.15
  assert losses.shape == (TASKS, 3)


def test_bfloat16_params_lose_nothing_of_the_small_moves(params, tasks):
  """At a rate at which φ_b − φ would drown in the rounding of φ: 8 bits, of which a move
  of 1e-3 of it leaves none."""
  quiet = lambda p, task, key: loss(p, task, jax.random.key(0))  # noqa: E731
  low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
  settings = {"steps": 3, "rate": 1e-4}
  found, _ = pseudo_gradient(quiet, low, tasks, jax.random.key(6), **settings)
  exact = jax.tree.map(lambda p: p.astype(jnp.float32), low)
  expected, _ = pseudo_gradient(quiet, exact, tasks, jax.random.key(6), **settings)
  assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(found))
  norm = optax.tree.norm(jax.tree.map(jnp.subtract, found, expected))
  assert norm < 0.03 * optax.tree.norm(expected)  # the rounding of the gradients alone


def test_mean_gradient_is_a_loop_over_tasks(params, tasks):
  key = jax.random.key(5)
  gradient, (losses, errors) = mean_gradient(loss, params, tasks, key)
  keys = jax.random.split(key, TASKS)
  each = [gradient_of(params, task, k) for task, k in zip(tasks, keys, strict=True)]
  expected = jax.tree.map(lambda *g: sum(g) / TASKS, *each)
  close(gradient, expected, 1e-6)  # float32 rounding
  assert losses.shape == (TASKS,) and errors.shape == (TASKS, 2)


def test_one_inner_step_gives_the_mean_gradient(params, tasks):
  """J = 1, with a loss that uses no key, so that both see the same draws."""
  quiet = lambda p, task, key: loss(p, task, jax.random.key(0))  # noqa: E731
  key = jax.random.key(6)
  reptile, _ = pseudo_gradient(quiet, params, tasks, key, steps=1, rate=RATE)
  single, _ = mean_gradient(quiet, params, tasks, key)
  close(reptile, single, 1e-5)  # float32 rounding of φ, divided by η = 0.05


def test_sgd_of_the_pseudo_gradient_is_the_published_update(params, tasks):
  """φ ← φ + (ζ/B) Σ_b (φ_b − φ), with the rate ζ J η that the configuration gives."""
  zeta, key = 0.4, jax.random.key(7)
  settings = {"rate": zeta, "inner_rate": RATE, "inner_steps": 3}
  config = MetaConfig(optimiser="sgd", clip=0.0, **settings)
  optimiser = outer_optimiser(config, "reptile")
  gradient, _ = pseudo_gradient(loss, params, tasks, key, steps=3, rate=RATE)
  updates, _ = optimiser.update(gradient, optimiser.init(params), params)
  found = optax.apply_updates(params, updates)
  moves = [
    jax.tree.map(jnp.subtract, descend_by_hand(params, task, k, 3), params)
    for task, k in zip(tasks, jax.random.split(key, TASKS), strict=True)
  ]
  expected = jax.tree.map(lambda p, *m: p + zeta / TASKS * sum(m), params, *moves)
  close(found, expected, 1e-6)  # float32 rounding


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_norm_is_clipped_before_either_optimiser(kind):
  """Two gradients of one direction above the bound give one update; without a bound, sgd
  tells them apart."""
  gradient = {"w": jnp.full((2, 3), 5.0)}

  def update(clip, scale):
    optimiser = outer_optimiser(MetaConfig(optimiser=kind, clip=clip), "reptile")
    state = optimiser.init(gradient)
    for _ in range(2):  # a rate that warms up is 0 at first
      updates, state = optimiser.update(jax.tree.map(lambda g: scale * g, gradient), state)
    return updates

  close(update(1.0, 1.0), update(1.0, 2.0), 1e-9)
  if kind == "sgd":
    assert abs(update(0.0, 1.0)["w"] - update(0.0, 2.0)["w"]).max() > 0
    bound = MetaConfig().rate * 3 * 0.005  # ζ J η, of a gradient of norm 1
    np.testing.assert_allclose(optax.tree.norm(update(1.0, 1.0)), bound, rtol=1e-5)
