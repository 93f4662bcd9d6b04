import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.diffusion import (
  FORMS,
  SAMPLERS,
  DiffusionConfig,
  Schedule,
  chain,
  make_schedule,
  make_segments,
  sample_chain,
)

CHAINS = [(20, 3), (7, 3), (21, 3), (20, 1)]  # T/k is an integer for two of them
SIZE = 5


def make_alpha(steps):
  return np.linspace(0.25, 0.98, steps)


def make_targets(segments):
  return np.random.default_rng(1).normal(size=(segments, SIZE))


def run(
  name, predict, z, alpha, segments, form, temperature=1.0, ancestral=False, seed=0,
  draw_noise=None,
):  # fmt: skip
  """x_T and the path x_1 … x_T."""
  z = jnp.asarray(z)
  draw_noise = draw_noise or (lambda k: jax.random.normal(k, z.shape, z.dtype))
  return sample_chain(
    SAMPLERS[name],
    predict,
    z,
    jax.random.key(seed),
    chain=chain(Schedule(jnp.asarray(alpha)), make_segments(len(alpha), segments)),
    form=FORMS[form],
    draw_noise=draw_noise,
    temperature=temperature,
    ancestral=ancestral,
  )


def point_oracle(form, theta_of_step, aimed, last):
  """The output that a network with full knowledge of the target would give.

  Args:
    theta_of_step: [T, ...] the target at each step.
    aimed: [T] ᾱ^i_t of that target.
    last: [T] ᾱ_t.
  """
  theta_of_step, aimed, last = map(jnp.asarray, (theta_of_step, aimed, last))

  def predict(x, t):
    signal, noise = jnp.sqrt(aimed[t]), jnp.sqrt(1 - aimed[t])
    if form == "preconditioned":
      return (theta_of_step[t] - signal * x) / noise
    return jnp.sqrt(1 - last[t]) / noise * (x - signal * theta_of_step[t]) / noise

  return predict


def own_oracle(form, targets, hand):
  """Aims at the target of the segment that holds t."""
  return point_oracle(form, targets[hand.segment], hand.own, hand.alpha_bar[-1, :-1])


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize(("steps", "segments"), CHAINS)
def test_published_sampler_lands_on_every_target(steps, segments, form, by_hand):
  """Each segment aims at its own target, and x at b_i is θ_{id}."""
  alpha, targets = make_alpha(steps), make_targets(segments)
  hand = by_hand(alpha, segments)
  z = np.random.default_rng(2).normal(size=SIZE)
  with jax.enable_x64(True):
    end, path = run("published", own_oracle(form, targets, hand), z, alpha, segments, form)
    at_boundaries = path[np.array(hand.boundaries) - 1]
    np.testing.assert_allclose(at_boundaries, targets, atol=1e-10)
    np.testing.assert_array_equal(end, path[-1])


@pytest.mark.parametrize("aim", [0, 1, 2])
@pytest.mark.parametrize(("steps", "segments"), [(20, 3), (7, 3)])
def test_published_sampler_follows_one_chain_from_the_start(steps, segments, aim, by_hand):
  """`method.md` 2: the oracle of chain i, from t = 0 on, lands on θ_{id} at b_i."""
  alpha, targets = make_alpha(steps), make_targets(segments)
  hand = by_hand(alpha, segments)
  stop = hand.boundaries[aim]
  aimed = np.where(np.arange(steps) < stop, hand.alpha_bar[aim, :-1], 0.5)
  theta_of_step = np.broadcast_to(targets[aim], (steps, SIZE))
  predict = point_oracle("plain", theta_of_step, aimed, hand.alpha_bar[-1, :-1])
  z = np.random.default_rng(2).normal(size=SIZE)
  with jax.enable_x64(True):
    path = run("published", predict, z, alpha, segments, "plain")[1]
    np.testing.assert_allclose(path[stop - 1], targets[aim], atol=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize(("steps", "segments"), [(20, 3), (7, 3), (20, 1)])
def test_deterministic_path_carries_one_noise_a_segment(
  steps, segments, form, temperature, by_hand
):
  """`method.md` 3.3: x_t = √ᾱ^i_t θ_{id} + √(1−ᾱ^i_t) ε_i at every t, where ε_i changes
  at the boundaries by the bend of the trajectory."""
  alpha, targets = make_alpha(steps), make_targets(segments)
  hand = by_hand(alpha, segments)
  eps = temperature * np.random.default_rng(2).normal(size=SIZE)
  start = np.sqrt(hand.own[0]) * targets[0] + np.sqrt(1 - hand.own[0]) * eps
  expected = []
  for t in range(1, steps):
    i = hand.segment[t]
    if t in hand.boundaries:
      a = hand.alpha_bar[i, t]
      eps = eps + np.sqrt(a / (1 - a)) * (targets[i - 1] - targets[i])
    expected.append(np.sqrt(hand.own[t]) * targets[i] + np.sqrt(1 - hand.own[t]) * eps)
  expected.append(targets[-1])
  with jax.enable_x64(True):
    end, path = run(
      "windowed",
      own_oracle(form, targets, hand),
      start / temperature,
      alpha,
      segments,
      form,
      temperature,
    )
    np.testing.assert_allclose(path, expected, atol=1e-10)
    np.testing.assert_array_equal(end, path[-1])


@pytest.mark.parametrize("targets_are", ["equal", "distinct"])
def test_ancestral_noise_has_the_variance_it_was_trained_on(targets_are, by_hand):
  """Point targets: the noise in x_t has variance τ²(1−ᾱ^i_t) at every t; with equal
  targets it lies about √ᾱ^i_t θ."""
  steps, segments, keys, width = 20, 3, 64, 500
  alpha = make_alpha(steps)
  hand = by_hand(alpha, segments)
  values = [0.7] * 3 if targets_are == "equal" else [0.7, -1.1, 0.4]
  predict = own_oracle("preconditioned", np.float32(values)[:, None], hand)

  @jax.jit
  @jax.vmap
  def sample(key, temperature):
    k_start, k_run = jax.random.split(key)
    noise = jax.random.normal(k_start, (width,))
    a = hand.own[0]
    start = np.sqrt(a) * values[0] + temperature * np.sqrt(1 - a) * noise
    return sample_chain(
      SAMPLERS["windowed"],
      predict,
      start / temperature,
      k_run,
      chain=chain(Schedule(jnp.float32(alpha)), make_segments(steps, segments)),
      form=FORMS["preconditioned"],
      draw_noise=lambda k: jax.random.normal(k, (width,)),
      temperature=temperature,
      ancestral=True,
    )[1]

  count = keys * width
  own = np.append(hand.own[1:], 1.0)  # of x_1 … x_T
  for temperature in (0.5, 1.0):
    path = sample(jax.random.split(jax.random.key(5), keys), jnp.full(keys, temperature))
    path = np.float64(np.moveaxis(path, 1, 0).reshape(steps, count))
    expected = temperature**2 * (1 - own)
    # 5 sd of a variance from `count` samples, and float32 rounding at x_T
    bound = 5 * expected * np.sqrt(2 / count) + 1e-10
    assert (abs(path.var(1) - expected) < bound).all()
    if targets_are == "equal":
      mean = np.sqrt(own) * values[0]
      bound = 5 * np.sqrt(expected / count) + 1e-5  # 5 sd, and float32 rounding
      assert (abs(path.mean(1) - mean) < bound).all()
    # fresh noise at each boundary: nothing is carried over (5 sd of a correlation)
    for b in hand.boundaries[:-1]:
      assert abs(np.corrcoef(path[b - 2], path[b - 1])[0, 1]) < 5 / np.sqrt(count)


MEAN = np.array([0.5, -0.3])
COVARIANCE = np.array([[1.0, 0.3], [0.3, 0.5]])


def posterior(hand):
  """E[θ | x_t] = M_t + G_t x for θ ~ N(m, C), noised with ᾱ of the step's own segment."""
  gains, offsets = [], []
  for a in hand.own:
    signal_cov = np.sqrt(a) * COVARIANCE
    gain = signal_cov @ np.linalg.inv(a * COVARIANCE + (1 - a) * np.eye(2))
    gains.append(gain)
    offsets.append(MEAN - np.sqrt(a) * gain @ MEAN)
  return np.array(gains), np.array(offsets)


def gaussian_network(hand, form):
  """The conditional mean, in what the form wants of a network; x [..., 2]."""
  gains, offsets = map(jnp.asarray, posterior(hand))
  own, last = jnp.asarray(hand.own), jnp.asarray(hand.alpha_bar[-1, :-1])

  def predict(x, t):
    theta = x @ gains[t].T + offsets[t]
    if form == "preconditioned":
      return (theta - jnp.sqrt(own[t]) * x) / jnp.sqrt(1 - own[t])
    eps = (x - jnp.sqrt(own[t]) * theta) / jnp.sqrt(1 - own[t])
    return jnp.sqrt((1 - last[t]) / (1 - own[t])) * eps

  return predict


def cosine_alpha(steps, segments):
  config = DiffusionConfig(steps=steps, segments=segments, schedule="cosine")
  return np.float64(make_schedule(config).alpha)


def test_deterministic_sampler_recovers_a_gaussian(by_hand):
  """k = 1, s = 0, T = 1000: the affine map z → x_T, taken exactly, turns N(0, I) into
  N(m, C)."""
  alpha = cosine_alpha(1000, 1)
  predict = gaussian_network(by_hand(alpha, 1), "preconditioned")
  with jax.enable_x64(True):
    end = jax.jit(lambda z: run("windowed", predict, z, alpha, 1, "preconditioned")[0])
    np.testing.assert_allclose(end(np.zeros(2)), MEAN, atol=1e-2)
    jacobian = jax.jacfwd(end)(np.zeros(2))
    found = np.asarray(jacobian @ jacobian.T)
  assert abs(found - COVARIANCE).max() < 0.03 * abs(COVARIANCE).max()


@pytest.mark.parametrize("segments", [1, 3])
def test_ancestral_sampler_recovers_a_gaussian(segments, by_hand):
  """s = 1, τ = 1, T = 1000, all targets of a task equal. The map is affine in all noise,
  so without noise it gives the mean exactly; the covariance comes from samples."""
  alpha, number = cosine_alpha(1000, segments), 30000
  predict = gaussian_network(by_hand(alpha, segments), "preconditioned")

  def end(scale, shape):
    return run(
      "windowed",
      predict,
      scale * jax.random.normal(jax.random.key(8), shape),
      jnp.float32(alpha),
      segments,
      "preconditioned",
      ancestral=True,
      draw_noise=lambda k: scale * jax.random.normal(k, shape),
    )[0]

  end = jax.jit(end, static_argnums=1)
  mean = end(0.0, (1, 2))[0]
  np.testing.assert_allclose(mean, MEAN, atol=1e-2)
  centred = np.float64(end(1.0, (number, 2))) - mean
  found = centred.T @ centred / number
  # 3 %: the bias of 1,000 steps, and 0.8 % sd of a variance from 30,000 samples
  assert abs(found - COVARIANCE).max() < 0.03 * abs(COVARIANCE).max()


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("variant", ["published", "deterministic", "ancestral"])
def test_samplers_follow_the_linear_recursion(variant, form, by_hand):
  """T = 20, k = 3, a Gaussian's conditional mean as the network, step by step in numpy."""
  steps, segments, temperature, seed = 20, 3, 0.7, 11
  alpha = make_alpha(steps)
  hand = by_hand(alpha, segments)
  gains, offsets = posterior(hand)
  z = np.random.default_rng(3).normal(size=2)
  with jax.enable_x64(True):
    key = jax.random.key(seed)
    # what the sampler injects is normal(fold_in(key, t))
    fresh = jax.vmap(lambda t: jax.random.normal(jax.random.fold_in(key, t), (2,)))
    fresh = np.asarray(fresh(jnp.arange(steps)))
    path = run(
      "published" if variant == "published" else "windowed",
      gaussian_network(hand, form),
      z,
      alpha,
      segments,
      form,
      temperature,
      ancestral=variant == "ancestral",
      seed=seed,
    )[1]
  x, expected = temperature * z, []
  for t in range(steps):
    i, own = hand.segment[t], hand.own[t]
    theta = gains[t] @ x + offsets[t]
    eps = (x - np.sqrt(own) * theta) / np.sqrt(1 - own)
    s = variant == "ancestral"
    if variant == "published":
      last = hand.alpha_bar[-1, t]
      f = np.sqrt(1 - last) / np.sqrt(1 - own) * eps
      x = (x - (1 - alpha[t]) / np.sqrt(1 - last) * f) / np.sqrt(alpha[t])
    elif t + 1 == steps:
      x = theta
    elif t + 1 == hand.boundaries[i]:
      a = hand.alpha_bar[i + 1, t + 1]
      n = temperature * fresh[t] if s else eps
      x = np.sqrt(a) * theta + np.sqrt(1 - a) * n
    else:
      a = hand.alpha_bar[i, t + 1]
      variance = (1 - alpha[t]) * (1 - a) / (1 - own)
      x = np.sqrt(a) * theta + np.sqrt(1 - a - s * variance) * eps
      x = x + s * temperature * np.sqrt(variance) * fresh[t]
    expected.append(x)
  # float64 rounding through 20 steps
  np.testing.assert_allclose(path, expected, atol=1e-11)


@pytest.mark.parametrize("ancestral", [False, True])
def test_without_temperature_no_noise_enters(ancestral, by_hand):
  alpha, targets = np.float32(make_alpha(7)), make_targets(3)
  predict = own_oracle("preconditioned", np.float32(targets), by_hand(alpha, 3))
  z = np.float32([np.zeros(SIZE), np.ones(SIZE)])
  ends = [
    run("windowed", predict, z[n], alpha, 3, "preconditioned", 0.0, ancestral, seed=n)
    for n in (0, 1)
  ]
  jax.tree.map(np.testing.assert_array_equal, *ends)
