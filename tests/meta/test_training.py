import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, WIDTH, flat, make_generator, make_source, step_of

from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.loop import train
from mcdi_jax.meta import (
  MetaConfig,
  TaskBatch,
  draw_tasks,
  fit_space,
  meta_training,
  selected,
  task_loss,
  task_source,
  validation,
)
from mcdi_jax.meta.loss import handover_gaps, segment_losses
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Form, Protocol, sample_task

CONFIG = MetaConfig(
  steps=300,
  tasks=8,
  draws=4,
  inner_steps=2,
  rate=1e-2,
  ways=(WAYS,),
  shots=(SHOTS,),
)


@pytest.fixture(scope="module")
def source():
  return make_source()


@pytest.fixture(scope="module")
def generator(source):
  return fit_space(make_generator(), source, jax.random.key(2), tasks=64)


@pytest.fixture(scope="module")
def training(generator, source):
  """`init(score)`, and `step(state, key)` of REPTILE, compiled once for all tests."""
  made = meta_training(CONFIG, "reptile")
  return made.init, step_of(made, generator, source), made.step


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_fitted_space_has_targets_of_unit_scale(generator, source):
  """Each leaf's rms over tasks, coordinates and all targets is 1."""
  key = jax.random.fold_in(jax.random.key(2), 0)
  batch = draw_tasks(key, source, generator, form=0, tasks=64)
  # float32 rounding: these are the tasks of the fit
  np.testing.assert_allclose(generator.space.leaf_rms(batch.targets), 1, rtol=1e-5)


def test_a_space_is_fitted_on_the_supports_that_are_trained_on(source):
  """A base depends on the support: with kept ones the scale is that of their deltas."""
  generator = make_generator(base="prototypes")
  space = lambda **kept: fit_space(generator, source, jax.random.key(2), **kept).space  # noqa: E731
  kept, redrawn = space(keep_support=True), space()
  assert abs(kept.scale - redrawn.scale).max() > 1e-4
  one = dataclasses.replace(kept, scale=jnp.ones(2))
  drawn = draw_tasks(
    jax.random.fold_in(jax.random.key(2), 0),
    source,
    dataclasses.replace(generator, space=one),
    form=0,
    tasks=1024,
    keep_support=True,
  )
  np.testing.assert_allclose(one.leaf_rms(drawn.targets), kept.scale, rtol=1e-5)


def test_drawn_tasks_belong_together(generator, source):
  """A batch's supports are items of the classes whose targets stand beside them."""
  batch = draw_tasks(jax.random.key(1), source, generator, form=0, tasks=64)
  x = batch.given.inputs[0] / WIDTH**0.5  # the network's coordinates have rms 1
  assert x.shape == (64, WAYS * SHOTS, WIDTH)
  assert batch.targets.shape == (64, 3, WAYS, WIDTH + 1)
  encoded = jax.vmap(lambda w: jax.vmap(generator.space.encode)(w))(source.bank.weights)
  for n, targets in enumerate(batch.targets[:5]):
    shots = x[n].reshape(WAYS, SHOTS, WIDTH)
    distance = abs(encoded - targets).max((1, 2, 3))
    number = int(distance.argmin())
    assert distance[number] < 1e-5  # float32 rounding
    for way, c in enumerate(source.bank.tasks[number]):
      items = source.items.x[source.items.index[c]]
      assert all(np.isclose(items, shot, 1e-5).all(1).any() for shot in shots[way])


FORMS = ((2, 1), (4, 3), (3, 2))


def test_a_task_does_not_depend_on_the_forms_beside_it():
  """Drawn from a source of three forms, a task has the items and targets that it has in a
  source of its own, the rest is masked; and its loss is the same."""
  mixed, banks = make_source(forms=FORMS), {}
  generator = make_generator(ways=(2, 3, 4), shots=(1, 2, 3))
  key = jax.random.key(1)
  for f, (ways, shots) in enumerate(FORMS):
    rows = slice(int(mixed.first[f]), int(mixed.first[f] + mixed.count[f]))
    bank = jax.tree.map(lambda leaf, r=rows: np.asarray(leaf[r]), mixed.bank)
    head = bank.weights["head"]
    banks[ways] = bank._replace(
      tasks=bank.tasks[:, :ways],
      weights={"head": {name: leaf[..., :ways] for name, leaf in head.items()}},
    )
    of_form = dataclasses.replace(generator.spec.family, ways=(ways,), shots=(shots,))
    form = Form(ways, shots)
    alone = task_source(of_form, [form], [banks[ways]], mixed.items, mixed.key)
    own = dataclasses.replace(generator.spec, family=of_form)
    settings = {"tasks": 4, "keep_support": f == 1}
    small = dataclasses.replace(generator, spec=own)
    expected = draw_tasks(key, alone, small, form=0, **settings)
    found = draw_tasks(key, mixed, generator, form=f, **settings)
    x, member = found.given.inputs
    assert x.shape == (4, 4 * 3, WIDTH)
    for n in range(4):
      counted, (own_x, own_member) = member[n].any(1), expected.given.inputs
      np.testing.assert_array_equal(x[n][counted], own_x[n])
      np.testing.assert_array_equal(member[n][counted, :ways], own_member[n])
    targets = found.targets
    np.testing.assert_allclose(targets[..., :ways, :], expected.targets, atol=1e-6)
    assert not targets[..., ways:, :].any()
    losses = [
      task_loss(g.score, g, jax.tree.map(lambda leaf: leaf[0], batch), key, draws=8)[0]
      for g, batch in ((generator, found), (small, expected))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_forms_take_turns_and_are_compiled_once(programs):
  """The loss of step n is that of form n mod F."""
  source = make_source(forms=FORMS)
  generator = make_generator(ways=(2, 3, 4), shots=(1, 2, 3))
  config = dataclasses.replace(CONFIG, ways=(2, 3, 4), shots=(1, 2, 3), tasks=2)
  made = meta_training(config, "reptile")
  state, key = made.init(generator.score), jax.random.key(0)
  step = step_of(made, generator, source)
  for n in range(2 * len(FORMS)):
    batch_key = jax.random.split(jax.random.fold_in(key, n))[0]
    batch = draw_tasks(batch_key, source, generator, form=n % len(FORMS), tasks=2)
    assert batch.ways.tolist() == [FORMS[n % len(FORMS)][0]] * 2
    state, metrics = step(state, key)
    gaps = handover_gaps(generator, batch)
    np.testing.assert_allclose(metrics["gap_1"], gaps["gap_1"], rtol=1e-4)
  assert programs("draw_batch") == programs("step") == 1


def test_another_backbone_of_the_same_shape_compiles_nothing(
  training, generator, source, programs
):
  """The generator is an argument: its frozen params and scale are no constants."""
  init, step, jitted = training
  state, key = init(generator.score), jax.random.key(0)
  step(state, key)
  compiled = programs("step")
  other = dataclasses.replace(
    generator, frozen=jax.tree.map(lambda leaf: leaf + 1, generator.frozen)
  )
  made = meta_training(CONFIG, "reptile")._replace(step=jitted)
  step_of(made, other, source)(init(generator.score), key)
  assert programs("step") == compiled


def test_kept_supports_are_the_same_at_every_draw(generator, source):
  draws = [
    draw_tasks(
      jax.random.key(seed),
      source,
      generator,
      form=0,
      tasks=64,
      keep_support=keep,
    )
    for keep in (True, False)
    for seed in (1, 2)
  ]

  def supports(batch):
    """Task (by its targets) → the supports that came with it."""
    found = {}
    pairs = (np.asarray(batch.given.inputs[0]), np.asarray(batch.targets))
    for shots, targets in zip(*pairs, strict=True):
      found.setdefault(targets.tobytes(), set()).add(shots.tobytes())
    return found

  kept, again, redrawn, _ = map(supports, draws)
  assert all(len(s) == 1 for s in kept.values())
  shared = kept.keys() & again.keys()
  assert len(shared) > 5 and all(kept[t] == again[t] for t in shared)
  assert any(len(s) > 1 for s in redrawn.values())


def test_forms_of_unit_noise_have_loss_one():
  """With targets of unit variance in the gauge and a network that puts out 0, the
  residual is gauge noise of unit variance, whose mean square over the free classes is 1:
  with and without the gauge."""
  for ways, gauge in [(2, True), (2, False)]:
    generator = make_generator(ways=(ways,), gauge=gauge)
    idle = jax.tree.map(jnp.zeros_like, generator.score)
    rng = np.random.default_rng(0)
    targets = generator.space.project(jnp.float32(rng.normal(size=(3, ways, WIDTH + 1))))
    free = ways - 1 if gauge else ways
    square = jnp.sum(targets**2, (1, 2), keepdims=True) / (free * (WIDTH + 1))
    shots = jnp.float32(rng.normal(size=(ways, SHOTS, WIDTH)))
    task = TaskBatch(generator.given(flat(shots), ways), targets / jnp.sqrt(square), ways)
    # As arguments, as in training: where they are constants of the program, XLA for CPU
    # (jaxlib 0.10.2) compiles weights that are all 0 to NaN, one time in twenty or so.
    loss, (losses, segments) = jax.jit(functools.partial(task_loss, draws=4096))(
      idle, generator, task, jax.random.key(0)
    )
    assert losses.shape == segments.shape == (4096,)
    chex.assert_tree_all_finite((task, losses))
    # a draw has sd below 1, so this is 4 sd of the mean; N for N − 1 would give ½
    assert abs(loss - 1) < 4 / np.sqrt(4096)


def test_a_dropped_condition_tells_nothing(generator, source):
  """Without it the loss of a task is the same for another support; with a share dropped,
  those draws are."""
  batch = draw_tasks(jax.random.key(1), source, generator, form=0, tasks=2)
  task, other = (jax.tree.map(lambda leaf, n=n: leaf[n], batch) for n in (0, 1))
  other = task._replace(given=other.given)
  key, draws = jax.random.key(2), 40

  def losses(task, drop):
    found = task_loss(generator.score, generator, task, key, draws=draws, drop=drop)
    return np.asarray(found[1][0])

  same = lambda drop: np.isclose(losses(task, drop), losses(other, drop), rtol=1e-4)  # noqa: E731
  assert not same(0.0).any()
  assert same(1 - 1e-6).all()
  assert 0.2 < same(0.5).mean() < 0.8


def test_a_dropped_condition_is_finite(source):
  """Also where it has operators of the support's features."""
  ridged = make_generator(network="equivariant", ridge=2)
  batch = draw_tasks(jax.random.key(1), source, ridged, form=0, tasks=1)
  task = jax.tree.map(lambda leaf: leaf[0], batch)
  settings = {"key": jax.random.key(2), "draws": 4, "drop": 0.5}
  loss = lambda score: task_loss(score, ridged, task, **settings)[0]  # noqa: E731
  chex.assert_tree_all_finite(jax.value_and_grad(loss)(ridged.score))


def test_a_condition_is_dropped_by_a_key_that_no_draw_has(generator, source, monkeypatch):
  """`split(key, n)[i]` is `fold_in(key, i)`, which the checker of keys below does not
  know: a draw of (i, t, ε) splits its key in three."""
  batch = draw_tasks(jax.random.key(1), source, generator, form=0, tasks=1)
  task, seen = jax.tree.map(lambda leaf: leaf[0], batch), []
  bernoulli = jax.random.bernoulli

  def noted(key, share):
    note = lambda data: seen.append(tuple(data.tolist()))  # noqa: E731
    jax.debug.callback(note, jax.random.key_data(key))
    return bernoulli(key, share)

  monkeypatch.setattr(jax.random, "bernoulli", noted)
  key, draws = jax.random.key(2), 5
  task_loss(generator.score, generator, task, key, draws=draws, drop=0.5)
  jax.effects_barrier()
  own = jax.vmap(lambda k: jax.random.split(k, 3))(jax.random.split(key, draws))
  taken = set(map(tuple, jax.random.key_data(own).reshape(-1, 2).tolist()))
  assert len(seen) == draws and not taken & set(seen)


def test_segment_losses_are_means_over_the_draws_of_each_segment():
  losses = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  found = segment_losses(losses, jnp.array([[0, 0], [0, 2]]), 3)
  assert found == {"loss_1": 2.0, "loss_2": 0.0, "loss_3": 4.0}


def test_handover_gaps_are_bends_in_units_of_the_noise(generator):
  """`method.md` 3.4, by hand: T = 6, k = 3, so b = 2, 4, 6."""
  rng = np.random.default_rng(0)
  targets = generator.space.project(jnp.float32(rng.normal(size=(7, 3, WAYS, WIDTH + 1))))
  alpha = np.float64(generator.schedule.alpha)
  tasks = TaskBatch(None, targets, jnp.full(7, WAYS))
  found = handover_gaps(generator, tasks)
  assert set(found) == {"gap_1", "gap_2"}
  for i, bar in [(1, alpha[2] * alpha[3]), (2, alpha[4] * alpha[5])]:
    bend = np.float64(targets[:, i - 1] - targets[:, i])
    dim = (WAYS - 1) * (WIDTH + 1)
    square = bar * np.mean(np.sum(bend**2, (1, 2))) / ((1 - bar) * dim)
    np.testing.assert_allclose(found[f"gap_{i}"], np.sqrt(square), rtol=1e-5)


def test_training_lowers_the_loss_and_compiles_once(training, generator, programs):
  init, step, _ = training
  written = []
  settings = {"steps": 80, "title": "miniature", "log_every": 20}
  key = jax.random.key(0)
  state = train(step, init(generator.score), key, write=written.append, **settings)
  assert int(state.step) == 80
  losses = [line["loss"] for line in written]
  assert losses[-1] < 0.7 * losses[0]
  assert programs("step") <= 1
  assert set(written[0]) >= {"loss_1", "loss_2", "loss_3", "gap_1", "gap_2", "gradient"}
  # the average follows the params, and is not them
  distances = [
    max(abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
    for pair in [(state.score, state.ema), (generator.score, state.ema)]
  ]
  assert 0 < distances[0] < distances[1]


def test_training_leaves_the_score_it_started_from_alone(training, generator):
  """The state is donated; the generator's own arrays must outlive that."""
  init, step, _ = training
  before = jax.tree.map(np.array, generator.score)
  state = init(generator.score)
  for _ in range(2):
    state, _ = step(state, jax.random.key(0))
  equal(generator.score, before)


def test_interrupted_training_continues_to_the_last_bit(training, generator, tmp_path):
  """6 steps, and 3 steps with a fresh start from the checkpoint up to 6."""
  init, step, _ = training
  key = jax.random.key(3)
  start = lambda: init(generator.score)  # noqa: E731
  whole = train(step, start(), key, steps=6, title="whole")
  checkpoints = Checkpoints(files.as_path(tmp_path / "checkpoints"))
  settings = {"title": "parts", "checkpoints": checkpoints, "save_every": 2}
  train(step, start(), key, steps=3, **settings)
  assert checkpoints.steps() == [2, 3]
  seen = []

  def counted(state, key):
    seen.append(int(state.step))
    return step(state, key)

  continued = train(counted, start(), key, steps=6, **settings)
  assert seen == [3, 4, 5]
  equal(continued, whole)
  # another key gives something else: the equality above is not idle
  other = train(step, start(), jax.random.key(4), steps=6, title="other")
  leaves = zip(*map(jax.tree.leaves, (other.score, whole.score)), strict=True)
  assert any((a != b).any() for a, b in leaves)


@pytest.mark.parametrize("measure", ["loss", "gradient"])
def test_what_is_not_finite_ends_training_and_keeps_the_checkpoint(
  training, generator, tmp_path, measure
):
  """The loss of a step is that of the params before it: it may be finite when the params
  after it are not, and the gradient's norm tells."""
  init, step, _ = training
  checkpoints = Checkpoints(files.as_path(tmp_path / "checkpoints"))

  def breaks_at_four(state, key):
    bad = int(state.step) == 3
    state, metrics = step(state, key)
    if bad:
      state = state._replace(score=jax.tree.map(lambda x: x * jnp.nan, state.score))
      metrics[measure] = metrics[measure] * jnp.nan
    return state, metrics

  with pytest.raises(InputError, match=f"miniature: the {measure} is not finite"):
    train(
      breaks_at_four,
      init(generator.score),
      jax.random.key(0),
      steps=10,
      title="miniature",
      checkpoints=checkpoints,
      save_every=1,
    )
  assert checkpoints.steps()[-1] == 3
  found, state = checkpoints.restore(init(generator.score))
  assert found == 3 and int(state.step) == 3
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("algorithm", ["reptile", "single_level"])
@pytest.mark.parametrize("support", ["redrawn", "kept"])
def test_no_key_is_used_twice_in_a_step(generator, source, algorithm, support):
  config = dataclasses.replace(
    CONFIG, support=support, draws=2, tasks=2, drop_condition=0.5
  )
  diffusion = dataclasses.replace(generator.spec.diffusion, handover=0.5)
  spec = dataclasses.replace(generator.spec, diffusion=diffusion)
  generator = dataclasses.replace(generator, spec=spec)
  made = meta_training(config, algorithm)
  state = made.init(generator.score)
  # A step's key is given to both functions, which take different halves of it.
  batch = made.draw(source, generator, jax.random.key(0), state.step)
  check_keys(lambda key: made.draw(source, generator, key, state.step))
  check_keys(lambda key: made.step(state, generator, batch, key))


def test_no_key_is_used_twice_in_validation(generator, source):
  state = meta_training(CONFIG, "reptile").init(generator.score)
  check_keys(
    lambda key: validation([Protocol(WAYS, SHOTS, 2)], key, tasks=2)(
      state, generator, source.items
    )
  )


def check_keys(fun):
  """Raises KeyReuseError; traces only."""
  with jax.debug_key_reuse(True):
    jax.eval_shape(jax.jit(fun), jax.random.key(0))


def test_the_key_checker_sees_a_key_used_twice():
  with pytest.raises(jax.errors.KeyReuseError):
    check_keys(lambda key: jax.random.normal(key) + jax.random.uniform(key))


def test_validation_of_several_forms_is_that_of_each():
  """One compilation for all of them, and each form's accuracy and rms are what they are
  without the others; the best is chosen by their mean."""
  generator = make_generator(ways=(2, 3, 4), shots=(1, 2, 3))
  init = meta_training(CONFIG, "reptile").init
  protocols = [Protocol(ways, shots, 2) for ways, shots in FORMS]
  key, features, names = jax.random.key(0), make_source().items, []
  validate = validation(protocols, key, tasks=20)
  state, together = validate(init(generator.score), generator, features)
  for form_key, (ways, shots, queries) in zip(
    jax.random.split(key, 3), protocols, strict=True
  ):
    names.append(f"{ways}w{shots}s")
    right, rms = [], []
    for k in jax.random.split(form_key, 20):  # by hand, with arrays of the form's own size
      k_task, k_sample = jax.random.split(k)
      protocol, form = Protocol(ways, 3, queries), Form(ways, shots)
      task = sample_task(k_task, features, protocol, form=form)
      condition = generator.condition(task.support, ways)
      tokens, _ = jax.jit(generator.sample)(condition, k_sample, temperature=0.0)
      params = generator.decode(tokens, condition, task.support)
      logits = apply_head(params, task.query.x)
      right.append(np.mean(logits.argmax(-1) == task.query.y))
      rms.append(np.mean(generator.space.leaf_rms(tokens)))
    np.testing.assert_allclose(
      together[f"val_{names[-1]}"], 100 * np.mean(right), rtol=1e-5
    )
    np.testing.assert_allclose(together[f"norm_{names[-1]}"], np.mean(rms), rtol=1e-4)
  mean = np.mean([together[f"val_{name}"] for name in names])
  np.testing.assert_allclose(state.best_quality, mean, rtol=1e-6)


def test_validation_keeps_the_best_average(generator, source):
  """`best` changes where the accuracy rises and stays where it falls."""
  init = meta_training(CONFIG, "reptile").init
  validate = validation([Protocol(WAYS, SHOTS, 2)], jax.random.key(0), tasks=10)
  state, seen = validate(init(generator.score), generator, source.items)
  assert set(seen) == {f"val_{WAYS}w{SHOTS}s", f"norm_{WAYS}w{SHOTS}s"}
  assert float(state.best_quality) == float(seen[f"val_{WAYS}w{SHOTS}s"])
  equal(state.best, state.ema)
  fresh = jax.tree.map(jnp.zeros_like, state.ema)  # one class for all: chance
  later, _ = validate(
    state._replace(ema=fresh, best_quality=jnp.float32(99)), generator, source.items
  )
  equal(later.best, state.best)
  assert float(later.best_quality) == 99
  equal(selected(later, CONFIG), state.best)
  equal(selected(later, dataclasses.replace(CONFIG, select="last")), fresh)


def test_single_level_takes_as_many_draws_as_reptile():
  assert CONFIG.loop_steps("reptile", 10) == 10
  assert CONFIG.loop_steps("single_level", 10) == 10 * CONFIG.inner_steps


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({"steps": 0}, "config.meta.steps"),
    ({"inner_steps": 0}, "config.meta.inner_steps"),
    ({"inner_rate": 0.0}, "config.meta.inner_rate"),
    ({"ema": 1.0}, "config.meta.ema"),
    ({"shots": ()}, "config.meta.shots"),
    ({"most_items": 4}, "config.meta.most_items"),
  ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, named):
  with pytest.raises(InputError, match=named):
    MetaConfig(**settings)
