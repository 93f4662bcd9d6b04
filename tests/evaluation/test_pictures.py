"""The arrays of a report show what the generator does, and nothing else."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import IMAGE, SHOTS, STEPS, WAYS, WIDTH, make_generator, make_source

from mcdi_jax.data import from_labels
from mcdi_jax.evaluation import classified, examples
from mcdi_jax.generator import generate_from_features
from mcdi_jax.networks.head import apply_head, head
from mcdi_jax.preparation import PreparationConfig
from mcdi_jax.preparation.trajectory import trajectory
from mcdi_jax.tasks import Protocol, Support, sample_support

module = importlib.import_module("mcdi_jax.evaluation.pictures")

FORM = Protocol(WAYS, SHOTS, 3)
LABELS = np.repeat(np.arange(8), 5)
SEGMENTS = 3
ROUNDING = 3e-5  # float32, through T = 6 steps of a network
TOKEN = (WAYS, WIDTH + 1)
UNIT = ((WAYS - 1) * (WIDTH + 1)) ** 0.5  # of free classes and columns


@pytest.fixture(scope="module")
def generator():
  return make_generator()


@pytest.fixture(scope="module")
def features():
  return jax.tree.map(jnp.asarray, make_source().items)


@pytest.fixture(scope="module")
def found(generator, features):
  """Every pixel of item i is i."""
  pixels = np.broadcast_to(np.arange(40)[:, None, None, None], (40, *IMAGE))
  images = jax.tree.map(jnp.asarray, from_labels(pixels.astype(np.uint8), LABELS))
  preparation = PreparationConfig(steps=6)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(module, "_TASKS", 4)
    key = jax.random.key(4)
    found = module.pictures(generator, preparation, FORM, features, features, key)
  answers = classified(generator, FORM, features, images, key)
  return found | {name: np.asarray(array) for name, array in answers.items()}


@pytest.fixture(scope="module")
def task(generator, features):
  """Any task of the features, by class, and its items; targets in the gauge."""
  classes = jnp.array([5, 0, 3])
  items = sample_support(jax.random.key(1), features, classes, 5)
  shots = items.x.reshape(WAYS, 5, WIDTH)[:, :SHOTS].reshape(-1, WIDTH)
  support = Support(shots, jnp.repeat(jnp.arange(WAYS), SHOTS))
  luck = np.random.default_rng(0).normal(size=(SEGMENTS, *TOKEN))
  targets = generator.space.project(jnp.float32(luck))
  return module.PreparedTask(classes, support, targets), items


def own_sample(generator, support):
  """What `generate` gives, in tokens."""
  params = generate_from_features(generator, support, jax.random.key(0))
  return generator.space.encode(params)


def along_chain(generator, task, offset=0.0):
  """Of a task whose local targets all are the generator's own sample, plus an offset."""
  target = own_sample(generator, task.support) + offset
  prepared = task._replace(targets=jnp.stack([target] * SEGMENTS))
  return map(np.sqrt, module._along_chain(generator, prepared, WAYS))


def free_direction():
  """A token in the gauge whose mean square over free classes and columns is 1."""
  luck = np.random.default_rng(4).normal(size=TOKEN)
  luck = luck - luck.mean(0)
  return np.float32(luck * UNIT / np.linalg.norm(luck))


def plane_axes(found, targets):
  """From where the targets lie: the first axis, then the other."""
  flat = np.asarray(targets).reshape(SEGMENTS, -1)
  first = flat[-1] / np.linalg.norm(flat[-1])
  x, y = found["plane_targets"][0]
  return np.stack([first, (flat[0] / UNIT - x * first) / y])


@pytest.fixture(scope="module")
def flat_plane(generator, task):
  """Of a generator that stays at the origin (its network puts out 0), with targets that
  span two directions."""
  prepared, items = task
  one, two = prepared.targets[:2]
  prepared = prepared._replace(targets=jnp.stack([one, one + two, two - 0.3 * one]))
  idle = jax.tree.map(jnp.zeros_like, generator.score)
  generator = dataclasses.replace(generator, score=idle)
  return prepared.targets, module._plane(
    generator, prepared, items, WAYS, jax.random.key(5)
  )


def test_arrays_have_the_shapes_that_are_promised(found):
  grid, chains, tasks = module._GRID, module._CHAINS, examples._TASKS
  expected = {
    "chain_boundaries": (SEGMENTS,),
    "chain_error_train": (STEPS,),
    "chain_error_test": (STEPS,),
    "chain_gap_train": (SEGMENTS - 1,),
    "chain_gap_test": (SEGMENTS - 1,),
    "plane_x": (grid,),
    "plane_y": (grid,),
    "plane_loss": (grid, grid),
    "plane_chains": (chains, STEPS + 1, 2),
    "plane_targets": (SEGMENTS, 2),
    "plane_quality": (chains,),
    "example_support": (tasks, WAYS, SHOTS, *IMAGE),
    "example_query": (tasks, WAYS, FORM.queries, *IMAGE),
    "example_predicted": (tasks, WAYS, FORM.queries),
  }
  assert {name: array.shape for name, array in found.items()} == expected
  assert all(np.isfinite(array).all() for array in found.values())
  np.testing.assert_array_equal(found["chain_boundaries"], [2, 4, 6])
  assert found["example_support"].dtype == found["example_query"].dtype == np.uint8


def test_the_same_classes_have_the_same_chains_seen_or_unseen(found):
  """Here train and test are one set."""
  np.testing.assert_array_equal(found["chain_error_train"], found["chain_error_test"])
  np.testing.assert_array_equal(found["chain_gap_train"], found["chain_gap_test"])


@pytest.mark.parametrize("sampler", ["windowed", "published"])
def test_the_last_estimate_is_what_is_generated(task, sampler):
  """A target that is the generator's own output has error 0 there, and not before; a
  target 2 units away has error 2."""
  generator = make_generator(sampler=sampler)
  error, _ = along_chain(generator, task[0])
  assert error.shape == (STEPS,)
  assert error[-1] < ROUNDING
  assert error[:-1].min() > 1e-3
  error, _ = along_chain(generator, task[0], 2 * free_direction())
  np.testing.assert_allclose(error[-1], 2, atol=ROUNDING)


def test_the_gap_is_the_error_against_the_next_target_in_units_of_the_noise(
  generator, task
):
  """`method.md` 3.4, by hand: T = 6, k = 3, so b = 2, 4. All targets are alike here, so
  that the error before a boundary is that against the next one too."""
  error, gap = along_chain(generator, task[0], free_direction())
  alpha = np.float64(generator.schedule.alpha)
  for i, bar in enumerate([alpha[2] * alpha[3], alpha[4] * alpha[5]]):
    expected = np.sqrt(bar / (1 - bar)) * error[2 * i + 1]
    np.testing.assert_allclose(gap[i], expected, rtol=1e-4)


def test_a_step_is_measured_against_the_target_of_its_own_segment(generator, task):
  """Moving one target moves the errors of its segment, and the gap before it."""
  prepared = task[0]

  def measure(targets):
    return module._along_chain(generator, prepared._replace(targets=targets), WAYS)

  before = measure(prepared.targets)
  after = measure(prepared.targets.at[1].add(free_direction()))
  moved = [np.flatnonzero(abs(a - b) > 1e-4) for a, b in zip(before, after, strict=True)]
  assert [m.tolist() for m in moved] == [[2, 3], [0]]


def test_prepared_targets_are_those_of_a_bank(generator, features, key):
  """Each is where Adam is at its step on all items of the classes, in tokens; the
  support is of these classes."""
  preparation = PreparationConfig(steps=6, rate=0.3)
  task = jax.jit(lambda k: module._prepared(generator, preparation, FORM, features, k))(key)
  items = sample_support(key, features, task.number, 5)  # all that there are

  def loss(params, _):
    odds = jax.nn.log_softmax(apply_head(params, items.x))
    return -jnp.mean(odds[jnp.arange(len(items.y)), items.y])

  path = jax.jit(
    lambda: trajectory(
      loss,
      head(WIDTH, WAYS).init(key),
      lambda k: None,
      key,
      optimiser=optax.adam(0.3, eps=1.0),
      record=(2, 4, 6),
    )
  )()
  expected = jax.vmap(generator.space.encode)(path.weights)
  np.testing.assert_allclose(task.targets, expected, atol=ROUNDING)
  for shot, way in zip(task.support.x, task.support.y, strict=True):
    own = features.x[features.index[task.number[way]]]
    assert (own == shot).all(1).any()


def test_examples_are_answered_as_generate_answers_them(found, generator, features):
  """Pixels name the items, so that the answers can be found again from the pictures."""
  answer = jax.jit(
    lambda support, query: apply_head(
      generate_from_features(generator, support, jax.random.key(9)), query
    )
  )
  arrays = [found[f"example_{k}"] for k in ("support", "query", "predicted")]
  for support, query, predicted in zip(*arrays, strict=True):
    shown, asked = support[..., 0, 0, 0], query[..., 0, 0, 0]
    assert (support == shown[..., None, None, None]).all()  # whole images
    assert len(np.unique([*shown.ravel(), *asked.ravel()])) == shown.size + asked.size
    np.testing.assert_array_equal(LABELS[shown][:, :1].repeat(3, 1), LABELS[asked])
    labels = jnp.repeat(jnp.arange(WAYS), SHOTS)
    logits = answer(Support(features.x[shown.ravel()], labels), features.x[asked.ravel()])
    np.testing.assert_array_equal(predicted.ravel(), logits.argmax(-1))
  assert len(np.unique(found["example_predicted"])) > 1  # not in vain


def test_the_last_target_lies_on_the_first_axis(generator, task):
  """Its distance from the origin is its rms; the chain at τ = 0 starts at the origin, the
  others do not."""
  prepared, items = task
  found = module._plane(generator, prepared, items, WAYS, jax.random.key(5))
  last = np.linalg.norm(prepared.targets[-1]) / UNIT
  np.testing.assert_allclose(found["plane_targets"][-1], [last, 0], atol=1e-5)
  starts = np.linalg.norm(found["plane_chains"][:, 0], axis=1)
  assert starts[0] == 0 and starts[1:].min() > 1e-2
  sample = own_sample(generator, prepared.support)
  along = np.sum(sample * prepared.targets[-1]) / np.linalg.norm(prepared.targets[-1])
  np.testing.assert_allclose(found["plane_chains"][0, -1, 0], along / UNIT, atol=ROUNDING)
  params = generator.space.decode(sample)
  right = 100 * np.mean(apply_head(params, items.x).argmax(-1) == items.y)
  np.testing.assert_allclose(found["plane_quality"][0], right, rtol=1e-5)


def test_warm_chains_start_from_the_noise_that_they_then_follow(generator, task):
  """From the noise by hand, the sampler ends where the drawn chains end."""
  prepared, items = task
  key = jax.random.key(5)
  found = module._plane(generator, prepared, items, WAYS, key)
  last = prepared.targets[-1].ravel() / jnp.linalg.norm(prepared.targets[-1])
  for n, k in enumerate(jax.random.split(key, module._CHAINS)):
    if n in (1, 4):
      condition = generator.condition(prepared.support, WAYS)
      noise = generator.draw_noise(jax.random.split(k)[0], condition.present)
      ends, _ = generator.sample(condition, k, temperature=1.0, initial=noise)
      for place, tokens in ((0, noise), (-1, ends)):
        np.testing.assert_allclose(
          found["plane_chains"][n, place, 0], tokens.ravel() @ last / UNIT, atol=ROUNDING
        )


def test_the_grid_holds_the_loss_of_the_weights_that_lie_there(flat_plane, generator, task):
  """Where the targets lie in the plane, the loss at their coordinates is theirs: the axes
  are read off the targets' places, rows are along y."""
  (_, items), (targets, found) = task, flat_plane
  axes = plane_axes(found, targets)
  np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-4)
  flat = np.asarray(targets).reshape(SEGMENTS, -1)
  np.testing.assert_allclose(UNIT * found["plane_targets"] @ axes, flat, atol=1e-4)

  def loss(at):
    tokens = jnp.float32((UNIT * at @ axes).reshape(TOKEN))
    logits = np.float64(apply_head(generator.space.decode(tokens), items.x))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -np.log(odds[np.arange(len(odds)), items.y]).mean()

  for row, column in ((0, 0), (3, 30), (40, 7), (22, 22)):
    at = np.array([found["plane_x"][column], found["plane_y"][row]])
    np.testing.assert_allclose(found["plane_loss"][row, column], loss(at), rtol=1e-3)
  assert np.ptp(found["plane_loss"]) > 0.1  # not in vain


def test_the_grid_shows_all_that_moves(flat_plane, found):
  """With a margin; an idle generator stays at the origin."""
  _, idle = flat_plane
  np.testing.assert_allclose(idle["plane_chains"][0], 0, atol=1e-6)
  for plane in (idle, found):
    seen = np.concatenate([plane["plane_targets"], plane["plane_chains"].reshape(-1, 2)])
    for axis, name in enumerate(("plane_x", "plane_y")):
      line = plane[name]
      assert line[0] < seen[:, axis].min() and seen[:, axis].max() < line[-1]
      np.testing.assert_allclose(np.diff(line), line[1] - line[0], rtol=1e-3)
