"""Training on the query loss, through the sampler."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import SHOTS, WAYS, WIDTH, make_generator, make_source, step_of

from mcdi_jax.generator import generate_from_features
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.loop import train
from mcdi_jax.meta import FinishingConfig, finishing
from mcdi_jax.meta.finishing import noisy_task, query_loss
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Form, Protocol, sample_task

FORM = Protocol(WAYS, SHOTS, 2)
FAMILY = make_generator().spec.family
CONFIG = FinishingConfig(tasks=8, queries=2, feature_noise=0.1)
STEPS = 60


@pytest.fixture(scope="module")
def generator():
  return make_generator()


@pytest.fixture(scope="module")
def features():
  return make_source().items


@pytest.fixture(scope="module")
def training(generator):
  """`init(score)` and `step(state, key)`, compiled once for all tests."""
  made = finishing(CONFIG, steps=STEPS, rate=1e-2)
  return made.init, step_of(made, generator, make_source())


@pytest.fixture
def task(features):
  return sample_task(jax.random.key(1), features, FORM)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_query_loss_is_that_of_the_generated_weights_on_the_queries(generator, task, key):
  loss, right = jax.jit(query_loss)(generator.score, generator, task, key)
  params = jax.jit(generate_from_features)(generator, task.support, key)
  logits = np.float64(apply_head(params, task.query.x))
  odds = np.exp(logits)
  of_class = (odds / odds.sum(1, keepdims=True))[np.arange(len(logits)), task.query.y]
  np.testing.assert_allclose(loss, -np.log(of_class).mean(), rtol=1e-5)
  np.testing.assert_allclose(right, np.mean(logits.argmax(1) == task.query.y), rtol=1e-6)


def test_the_gradient_through_the_sampler_is_that_of_finite_differences(
  generator, task, key
):
  """Along a random direction, of all params at once, and along the gradient itself."""
  loss = lambda score: query_loss(score, generator, task, key)[0]  # noqa: E731
  gradient = jax.jit(jax.grad(loss))(generator.score)
  along = jax.jit(
    lambda direction, steps: jax.vmap(
      lambda h: loss(jax.tree.map(lambda p, d: p + h * d, generator.score, direction))
    )(steps)
  )
  rng = np.random.default_rng(0)
  draw = lambda leaf: jnp.float32(rng.normal(size=leaf.shape))  # noqa: E731
  for direction in (jax.tree.map(draw, gradient), gradient):
    norm = optax.tree.norm(direction)
    direction = jax.tree.map(lambda d, n=norm: d / n, direction)
    slope = optax.tree.vdot(gradient, direction)
    assert abs(slope) > 3e-3  # not in vain
    # The error of a central difference falls with h²: two of them cancel it. What is left
    # is float32 rounding, 1e-7 of the loss divided by h, some 1e-5.
    h = jnp.float32([0.05, 0.025])
    rough, fine = (along(direction, h) - along(direction, -h)) / (2 * h)
    np.testing.assert_allclose((4 * fine - rough) / 3, slope, atol=1e-4, rtol=5e-3)


def test_without_noise_tasks_are_plain_ones(features):
  """Items of the set, K and Q a class, support and queries apart."""
  support, query = noisy_task(jax.random.key(2), features, FAMILY, FORM, 0.0)
  items = [tuple(row) for row in np.asarray(features.x)]
  places = [
    [items.index(tuple(row)) for row in np.asarray(x)] for x in (support.x, query.x)
  ]
  assert len({*places[0], *places[1]}) == WAYS * (SHOTS + 2)
  classes = [np.asarray(p).reshape(WAYS, -1) // 5 for p in places]  # five items a class
  np.testing.assert_array_equal(classes[0][:, :1].repeat(2, 1), classes[1])
  assert len(set(classes[0][:, 0])) == WAYS
  np.testing.assert_array_equal(support.y, np.repeat(np.arange(WAYS), SHOTS))
  np.testing.assert_array_equal(query.y, np.repeat(np.arange(WAYS), 2))


def test_noise_has_the_scale_that_is_asked_for_on_support_and_queries(features):
  """In units of D^-½, the rms coordinate of features of norm 1."""
  keys = jax.random.split(jax.random.key(3), 200)
  drawn = jax.jit(
    lambda noise: jax.vmap(lambda k: noisy_task(k, features, FAMILY, FORM, noise))(keys),
    static_argnums=0,
  )
  plain, noisy = drawn(0.0), drawn(0.5)
  equal((noisy.support.y, noisy.query.y), (plain.support.y, plain.query.y))
  units = [
    np.asarray(a.x - b.x) * WIDTH**0.5 for a, b in zip(noisy, plain, strict=True)
  ]  # support, query: 200 × 6 × 4 draws
  for noise in units:
    # the sd of a mean of 4800 draws, and of a sample's sd, times 4
    assert abs(noise.mean()) < 4 * 0.5 / 4800**0.5
    assert abs(noise.std() - 0.5) < 4 * 0.5 / 9600**0.5
  assert abs(np.mean(units[0] * units[1])) < 4 * 0.25 / 4800**0.5  # not the same noise


def test_finishing_lowers_the_query_loss_and_compiles_once(
  training, generator, features, programs
):
  """Also on tasks that it has not drawn."""
  init, step = training
  written = []
  settings = {"steps": STEPS, "title": "miniature", "log_every": 15}
  key = jax.random.key(0)
  state = train(step, init(generator.score), key, write=written.append, **settings)
  assert programs("step") <= 1
  assert set(written[0]) == {"step", "loss", "accuracy", "gradient", "seconds"}
  assert written[-1]["loss"] < 0.7 * written[0]["loss"]
  assert written[-1]["accuracy"] > written[0]["accuracy"] > 1  # percent

  @jax.jit
  def look(score):
    def one(key):
      task = sample_task(key, features, FORM)
      return query_loss(score, generator, task, key)

    losses, right = jax.vmap(one)(jax.random.split(jax.random.key(9), 50))
    return losses.mean(), right.mean()

  before, after = look(generator.score), look(state.score)
  assert after[0] < 0.7 * before[0] and after[1] > before[1]


def test_a_steps_metrics_are_those_of_its_tasks(training, generator, features):
  """The loss is the mean over tasks at the params before the step."""
  init, step = training
  _, metrics = step(init(generator.score), jax.random.key(0))
  keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), CONFIG.tasks)

  def one(key):
    k_task, k_sample = jax.random.split(key)
    task = noisy_task(k_task, features, FAMILY, FORM, CONFIG.feature_noise)
    return query_loss(generator.score, generator, task, k_sample)

  losses, right = jax.jit(jax.vmap(one))(keys)
  np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["accuracy"], 100 * right.mean(), rtol=1e-5)


def test_the_temperature_is_that_of_the_weights_that_are_judged(generator, features):
  """From noise that the task's key says; at another τ the loss is another one."""
  config = dataclasses.replace(CONFIG, tasks=2, temperature=0.7)
  made = finishing(config, steps=STEPS, rate=1e-2)
  step = step_of(made, generator, make_source())
  _, metrics = step(made.init(generator.score), jax.random.key(0))
  losses = {0.0: [], 0.7: []}
  for key in jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 2):
    k_task, k_sample = jax.random.split(key)
    task = noisy_task(k_task, features, FAMILY, FORM, CONFIG.feature_noise)
    for tau, found in losses.items():
      call = (generator.score, generator, task, k_sample)
      found.append(query_loss(*call, temperature=tau)[0])
  np.testing.assert_allclose(metrics["loss"], np.mean(losses[0.7]), rtol=1e-5)
  assert abs(np.mean(losses[0.0]) - np.mean(losses[0.7])) > 1e-2


def test_the_forms_of_a_source_take_turns(features, programs):
  """A step's loss is that of its form's tasks, whatever the size of the arrays."""
  forms = ((4, 1), (2, 2))
  source = make_source(forms=forms)
  generator = make_generator(ways=(2, 4), shots=(1, 2))
  made = finishing(CONFIG, steps=STEPS, rate=1e-2)
  state, key = made.init(generator.score), jax.random.key(0)
  step = step_of(made, generator, source)
  for n in range(4):
    score = jax.tree.map(jnp.copy, state.score)
    state, metrics = step(state, key)
    form = ways, shots = Form(*forms[n % 2])
    losses = []
    for k in jax.random.split(jax.random.fold_in(key, n), CONFIG.tasks):
      k_task, k_sample = jax.random.split(k)
      protocol = Protocol(4, 2, CONFIG.queries)
      task = noisy_task(k_task, source.items, FAMILY, protocol, 0.1, form)
      assert int(task.support.mask.sum()) == ways * shots
      assert int(task.query.mask.sum()) == ways * CONFIG.queries
      counted = task.query.mask
      query = task.query._replace(x=task.query.x[counted], y=task.query.y[counted])
      query = query._replace(mask=jnp.ones(len(query.y), bool))
      args = (task._replace(query=query), k_sample)
      losses.append(query_loss(score, generator, *args)[0])
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-4)
  assert programs("draw_batch") == programs("step") == 1


def test_interrupted_finishing_continues_to_the_last_bit(training, generator, tmp_path):
  """4 steps, and 2 steps with a fresh start from the checkpoint up to 4."""
  init, step = training
  key = jax.random.key(3)
  start = lambda: init(generator.score)  # noqa: E731
  whole = train(step, start(), key, steps=4, title="whole")
  checkpoints = Checkpoints(files.as_path(tmp_path / "checkpoints"))
  settings = {"title": "parts", "checkpoints": checkpoints, "save_every": 2}
  train(step, start(), key, steps=2, **settings)
  seen = []

  def counted(state, key):
    seen.append(int(state.step))
    return step(state, key)

  equal(train(counted, start(), key, steps=4, **settings), whole)
  assert seen == [2, 3]
  other = train(step, start(), jax.random.key(4), steps=4, title="other")
  leaves = zip(*map(jax.tree.leaves, (other.score, whole.score)), strict=True)
  assert any((a != b).any() for a, b in leaves)  # the equality above is not idle


def test_no_key_is_used_twice_in_a_step(generator):
  config = dataclasses.replace(CONFIG, tasks=2)
  made = finishing(config, steps=2, rate=1e-2)
  step = step_of(made, generator, make_source())
  state = made.init(generator.score)
  with jax.debug_key_reuse(True):
    jax.eval_shape(jax.jit(lambda key: step(state, key)), jax.random.key(0))


@pytest.mark.parametrize(
  ("settings", "said"),
  [
    ({"steps": 0}, "config.finishing.steps is 0: give at least 1"),
    ({"tasks": 0}, "config.finishing.tasks is 0: give at least 1"),
    ({"queries": 0}, "config.finishing.queries is 0: give at least 1"),
    ({"validate_every": 0}, "config.finishing.validate_every is 0: give at least 1"),
    ({"save_every": 0}, "config.finishing.save_every is 0: give at least 1"),
    ({"feature_noise": -0.1}, "config.finishing.feature_noise is -0.1: .*0 is off"),
    ({"clip": -1.0}, "config.finishing.clip is -1.0: .*0 is off"),
    ({"rate": 0.0}, "config.finishing.rate is 0.0: give a positive rate"),
    ({"warmup": 1.0}, "config.finishing.warmup is 1.0: give a share"),
    ({"ema": 1.0}, "config.finishing.ema is 1.0: give a decay"),
  ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, said):
  with pytest.raises(InputError, match=said):
    FinishingConfig(**settings)
