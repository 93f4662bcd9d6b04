"""One task: which items are trained on, and that each matters as it should.

Everything is held against a plain loop of optax steps on items gathered in numpy.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcdi_jax.data import ClassSet
from mcdi_jax.families import Heads
from mcdi_jax.lib.keys import key_for
from mcdi_jax.networks import head
from mcdi_jax.preparation import PreparationConfig, prepare_task, support_key
from mcdi_jax.preparation.task import task_keys
from mcdi_jax.tasks import Form, Support, sample_support

WAYS, SHOTS, TARGETS, WIDTH = 3, 2, 2, 4
COUNT = np.array([6, 4, 5, 6, 4])
BASIC = PreparationConfig(steps=6, rate=0.1, queries=2)
NEAR = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums in another order


def _items(versions: int = 1, *, padding: int = 0) -> ClassSet:
  """Features [n, V, D]; the places behind a class's last item hold `padding`."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(COUNT.sum(), versions, WIDTH)).astype(np.float32)
  places = iter(rng.permutation(COUNT.sum()))
  index = np.full((len(COUNT), COUNT.max()), padding, np.int32)
  for c, n in enumerate(COUNT):
    index[c, :n] = [next(places) for _ in range(n)]
  return ClassSet(jnp.asarray(x), jnp.asarray(index), jnp.asarray(COUNT, jnp.int32))


@functools.cache
def _prepare(config: PreparationConfig) -> Callable[..., Any]:
  family = Heads(ways=(WAYS,), shots=(SHOTS,), image_shape=(16, 16, 1))
  form = {"form": Form(WAYS, SHOTS), "targets": TARGETS}
  return jax.jit(lambda k, items: prepare_task(k, items, None, family, config, **form))


def _kept_support(key: jax.Array, items: ClassSet, classes: Any, shots: int) -> Support:
  return sample_support(support_key(key), items, classes, shots)


def _by_hand(
  config: PreparationConfig, start: Any, x: np.ndarray, y: np.ndarray
) -> tuple[Any, Any]:
  """θ_3 and θ_6 of Adam on the mean cross-entropy of the given items."""
  network, optimiser = head(WIDTH, WAYS), optax.adam(config.rate, eps=config.epsilon)

  def loss(params: Any) -> jax.Array:
    log_p = jax.nn.log_softmax(network.apply(params, jnp.asarray(x)))
    return -jnp.mean(log_p[jnp.arange(len(y)), jnp.asarray(y)])

  @jax.jit
  def step(params: Any, state: Any) -> tuple[Any, Any]:
    updates, state = optimiser.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  params, state, path = start, optimiser.init(start), []
  for _ in range(config.steps):
    params, state = step(params, state)
    path.append(params)
  return path[2], path[5]


def _gathered(
  mode: str, key: jax.Array, items: ClassSet, classes: Any
) -> tuple[np.ndarray, np.ndarray]:
  """The items that a mode trains on, class by class."""
  plain = items._replace(x=items.x[:, 0])
  if mode == "all":
    rows = [np.asarray(items.index)[c, : COUNT[c]] for c in np.asarray(classes)]
    y = np.repeat(np.arange(WAYS), [len(r) for r in rows])
    return np.asarray(plain.x)[np.concatenate(rows)], y
  if mode == "support":
    return _kept_support(key, plain, classes, SHOTS)[:2]
  drawn = sample_support(task_keys(key)[1], plain, classes, SHOTS + BASIC.queries)
  return np.asarray(drawn.x), np.asarray(drawn.y)


@pytest.mark.parametrize("mode", ["all", "support", "support_and_query"])
def test_each_mode_trains_on_its_items_alone(mode: str):
  """`all`: every item of the classes, each of the same weight, however many a class has;
  `support`: exactly the support that `support_key` gives the condition."""
  config = PreparationConfig(steps=6, rate=0.1, queries=2, prepare_on=mode)
  items, key = _items(), jax.random.key(5)
  classes, path = _prepare(config)(key, items)
  assert len(set(np.asarray(classes).tolist())) == WAYS
  x, y = _gathered(mode, key, items, classes)
  start = head(WIDTH, WAYS).init(key)
  expected = jax.tree.map(lambda *a: jnp.stack(a), *_by_hand(config, start, x, y))
  chex.assert_trees_all_close(path.weights, expected, **NEAR)
  assert path.weights["head"]["kernel"].shape == (TARGETS, WIDTH, WAYS)


def test_the_kept_support_is_part_of_support_and_query():
  """And its items are real ones of the classes, each once."""
  items, key = _items(), jax.random.key(5)
  plain, classes = items._replace(x=items.x[:, 0]), jnp.array([4, 0, 1])
  support = _kept_support(key, plain, classes, SHOTS)
  more = sample_support(task_keys(key)[1], plain, classes, SHOTS + 2)
  for c in range(WAYS):
    held = {tuple(row) for row in np.asarray(more.x)[np.asarray(more.y) == c].tolist()}
    kept = {
      tuple(row) for row in np.asarray(support.x)[np.asarray(support.y) == c].tolist()
    }
    assert len(kept) == SHOTS
    assert kept < held


def test_vmap_equals_a_loop():
  items, keys = _items(), jax.random.split(jax.random.key(1), 4)
  prepare = _prepare(BASIC)
  classes, path = jax.jit(jax.vmap(prepare, in_axes=(0, None)))(keys, items)
  for i, key in enumerate(keys):
    one_classes, one_path = prepare(key, items)
    np.testing.assert_array_equal(classes[i], one_classes)
    found = jax.tree.map(lambda a, i=i: a[i], path)
    chex.assert_trees_all_close(found, one_path, **NEAR)
  assert len({tuple(row) for row in np.asarray(classes).tolist()}) > 1


def test_padding_has_no_influence():
  """Whatever the places behind a short class's last item hold: bit for bit."""
  prepare = _prepare(BASIC)
  for seed in range(4):
    key = jax.random.key(seed)
    chex.assert_trees_all_equal(
      prepare(key, _items()), prepare(key, _items(padding=7)), strict=True
    )


def test_versions_of_items_are_used():
  """Equal versions: nothing changes; other versions: the path does, and each version is
  drawn: one of NaN alone spoils it."""
  prepare, key = _prepare(BASIC), jax.random.key(0)
  items = _items()
  one = prepare(key, items)[1].weights
  thrice = items._replace(x=jnp.tile(items.x, (1, 3, 1)))
  chex.assert_trees_all_close(prepare(key, thrice)[1].weights, one, **NEAR)
  for version in range(3):
    spoiled = thrice._replace(x=thrice.x.at[:, version].set(jnp.nan))
    assert np.isnan(prepare(key, spoiled)[1].weights["head"]["kernel"]).any()
  other = thrice._replace(x=thrice.x.at[:, 1:].add(1.0))
  found = prepare(key, other)[1].weights
  assert float(jnp.abs(found["head"]["kernel"] - one["head"]["kernel"]).max()) > 1e-3


@pytest.mark.parametrize("shared", [True, False])
def test_shared_and_own_initialisation(shared: bool):
  """At a rate of nearly nothing the weights stay at θ_0: one for all tasks, or each its
  own; Gaussian of the given scale."""
  config = PreparationConfig(
    steps=6, rate=1e-12, queries=2, init_scale=0.3, shared_init=shared
  )
  keys = jax.random.split(jax.random.key(1), 40)
  prepare = _prepare(config)
  _, path = jax.jit(jax.vmap(prepare, in_axes=(0, None)))(keys, _items())
  kernel = np.asarray(path.weights["head"]["kernel"])[:, -1].reshape(40, -1)
  assert len(np.unique(kernel, axis=0)) == (1 if shared else 40)
  if shared:
    expected = head(WIDTH, WAYS, scale=0.3).init(key_for(config.seed, "shared θ_0"))
    np.testing.assert_allclose(kernel[0], expected["head"]["kernel"].ravel(), rtol=1e-6)
  else:
    np.testing.assert_allclose(kernel.std(), 0.3, rtol=0.15)  # 480 draws: sd 3 %
