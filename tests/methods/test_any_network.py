"""Methods for any network: descent by hand, and controls that are what they are named."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import SHOTS, WAYS, WIDTH, flat, make_generator, make_source

from configs.sines import FAMILY, get_suite
from mcdi_jax.generator import compose, generate_from_features
from mcdi_jax.methods import (
  Known,
  descent,
  ensembled,
  generated_without,
  mean_of_bank,
  nearest_of_bank,
  refined,
  shuffled_condition,
)
from mcdi_jax.preparation import Bank
from mcdi_jax.tasks import Protocol, Support

FROZEN = FAMILY.init_frozen(jax.random.key(0))
ITEMS = jax.tree.map(jnp.asarray, get_suite().val)
KEY = jax.random.key(1)


def _support(number: int = 3, shots: int = 8) -> Support:
  return FAMILY.examples(KEY, ITEMS, jnp.int32(number), Protocol(1, shots, 1)).support


def _loss(params: Any, support: Support) -> Any:
  return jnp.mean((FAMILY.apply(FROZEN, params, support.x) - support.y) ** 2)


def test_descent_is_adam_from_theta_0_on_the_support():
  """Kingma & Ba (2015), algorithm 1, with the rate and ε of the trial."""
  settings = {"rate": 0.02, "epsilon": 1e-3}
  method = descent(3).make(settings, Known(FAMILY, FROZEN))
  support = _support()
  found = jax.jit(lambda s: method.adapt(method.variables, s, KEY, 1))(support)
  params = FROZEN["init"]
  first = second = jax.tree.map(jnp.zeros_like, params)
  for n in range(1, 4):
    gradient = jax.grad(_loss)(params, support)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
    params = jax.tree.map(
      lambda p, m, v, n=n: (
        p - 0.02 * m / (1 - 0.9**n) / (jnp.sqrt(v / (1 - 0.999**n)) + 1e-3)
      ),
      params,
      first,
      second,
    )
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  output = method.predict(method.variables, found, support.x)
  np.testing.assert_allclose(output, FAMILY.apply(FROZEN, found, support.x), rtol=1e-6)
  assert method.name == "descent_3" and method.settings == {"steps": 3, **settings}


def test_a_rate_that_falls_is_a_cosine_s():
  """From the trial's own, which the first step is of, to 0 after the last."""
  support, rates = _support(), 0.02 * (1 + np.cos(np.pi * np.arange(3) / 3)) / 2
  known, settings = Known(FAMILY, FROZEN), {"rate": 0.02, "epsilon": 1e-3}
  falling = descent(3).make({**settings, "decay": 1}, known)
  found = falling.adapt(falling.variables, support, KEY, 1)
  optimiser, params = optax.scale_by_adam(eps=1e-3), FROZEN["init"]
  state = optimiser.init(params)
  for rate in rates:
    update, state = optimiser.update(jax.grad(_loss)(params, support), state)
    params = jax.tree.map(lambda p, u, r=rate: p - r * u, params, update)
  chex.assert_trees_all_close(found, params, rtol=1e-4, atol=1e-6)


def test_trials_of_one_descent_share_their_functions():
  """And so their compilation; another number of steps has its own."""
  known = Known(FAMILY, FROZEN)
  a, b = (descent(3).make({"rate": r, "epsilon": 1e-8}, known) for r in (0.1, 0.2))
  assert a.adapt is b.adapt and a.predict is b.predict
  assert descent(4).make(a.settings | {}, known).adapt is not a.adapt


def test_descent_leaves_out_what_is_masked():
  method = descent(2).make({"rate": 0.02, "epsilon": 1e-8}, Known(FAMILY, FROZEN))
  adapt = lambda s: method.adapt(method.variables, s, KEY, 1)  # noqa: E731
  support = _support()
  mask = jnp.arange(8) < 5
  masked = adapt(Support(support.x, jnp.where(mask, support.y, 1e6), mask))
  short = adapt(Support(support.x[:5], support.y[:5]))
  for a, b in zip(jax.tree.leaves(masked), jax.tree.leaves(short), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("start", ["generated", "init", "prototypes", "ridge"])
def test_refined_is_plain_descent_from_its_start(start: str):
  """On the support, with what is masked left out; from what is generated it is
  `compose.refine`; the trials of one number of steps share their functions."""
  generator, x = make_generator(), jax.random.normal(KEY, (WAYS * SHOTS + 1, WIDTH))
  label = jnp.append(jnp.repeat(jnp.arange(WAYS), SHOTS), 0)
  support = Support(x[:-1], label[:-1])
  padded = Support(x, label, jnp.arange(len(x)) < len(x) - 1)
  settings = {"rate": 0.3}
  method = refined(start, 2).make(settings, generator)
  found = jax.jit(lambda s: method.adapt(method.variables, s, KEY, WAYS))(padded)
  family, frozen = generator.family, generator.frozen
  if start == "generated":
    params = generate_from_features(generator, support, KEY)
    refinement = compose.refine(generator, steps=2, rate=0.3)
    same = generate_from_features(refinement, support, KEY)
    chex.assert_trees_all_close(found, same, rtol=1e-4, atol=1e-5)
  else:
    params = family.base(frozen, start, support, WAYS)

  def loss(params: Any) -> Any:
    return family.loss(family.apply(frozen, params, support.x), support.y).mean()

  for _ in range(2):
    down = lambda p, g: p - 0.3 * g  # noqa: E731
    params = jax.tree.map(down, params, jax.grad(loss)(params))
  chex.assert_trees_all_close(found, params, rtol=1e-4, atol=1e-5)
  assert method.settings == {"start": start, "steps": 2, **settings}
  again = refined(start, 2).make({"rate": 0.1}, generator)
  assert method.adapt is again.adapt and method.name == f"refined_{start}_2"


def test_generated_without_some_leaves_has_those_of_the_base():
  """The others are generated; a prototype head with the biases of generated ones."""
  generator = make_generator(base="prototypes")
  support = flat(jax.random.normal(KEY, (WAYS, SHOTS, WIDTH)))
  method = generated_without(generator, 0.0, "*/kernel")
  found = jax.jit(lambda s: method.adapt(method.variables, s, KEY, WAYS))(support)["head"]
  whole = generate_from_features(generator, support, KEY)["head"]
  base = generator.family.base(generator.frozen, "prototypes", support, WAYS)["head"]
  np.testing.assert_allclose(found["kernel"], base["kernel"], rtol=1e-6)
  np.testing.assert_allclose(found["bias"], whole["bias"], rtol=1e-4, atol=1e-5)
  assert not np.allclose(whole["kernel"], base["kernel"], rtol=1e-2)
  assert method.name == "generated_without_*/kernel"


@pytest.fixture(scope="module")
def bank() -> tuple[Bank, Support]:
  """Five tasks, two targets each: the last of task n is θ_0 plus n."""
  tasks = np.arange(5, dtype=np.int32)

  def leaf(x: Any) -> np.ndarray:
    last = np.asarray(x)[None] + tasks.reshape(-1, *(1,) * jnp.ndim(x))
    return np.stack([np.full_like(last, 1e6), last], 1)

  draw = lambda n: FAMILY.support(KEY, ITEMS, n, 8)  # noqa: E731
  supports = jax.lax.map(draw, jnp.asarray(tasks))
  return Bank(tasks, jax.tree.map(leaf, FROZEN["init"])), supports


def test_the_mean_of_the_bank_is_that_of_last_targets(bank: tuple[Bank, Support]):
  method = mean_of_bank(Known(FAMILY, FROZEN), bank[0])
  found = method.adapt(method.variables, _support(), KEY, 1)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(FROZEN["init"]), strict=True):
    np.testing.assert_allclose(a, np.asarray(b) + 2, rtol=1e-6)


@pytest.mark.parametrize("number", range(5))
def test_the_nearest_of_the_bank_has_the_nearest_support(
  bank: tuple[Bank, Support], number: int
):
  method = nearest_of_bank(Known(FAMILY, FROZEN), *bank, 1)
  own = jax.tree.map(lambda leaf: leaf[number], bank[1])
  near = own._replace(y=own.y + 0.01)
  found = method.adapt(method.variables, near, KEY, 1)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(FROZEN["init"]), strict=True):
    np.testing.assert_allclose(a, np.asarray(b) + number, rtol=1e-6)


def test_a_shuffled_condition_is_another_tasks():
  """What is generated is what one of the others' supports gives, whatever the own is."""
  generator, rng = make_generator(), np.random.default_rng(0)
  shots = jnp.float32(rng.normal(size=(3, WAYS, SHOTS, WIDTH)))
  others = jax.vmap(flat)(shots)
  method = shuffled_condition(generator, 0.0, others)
  own = flat(jnp.float32(rng.normal(size=(WAYS, SHOTS, WIDTH))))
  adapt = jax.jit(lambda s, k: method.adapt(method.variables, s, k, WAYS))
  expected = [
    generate_from_features(generator, jax.tree.map(lambda x, n=n: x[n], others), KEY)
    for n in range(3)
  ]
  seen = set()
  for seed in range(12):
    key = jax.random.key(seed)
    found = adapt(own, key)
    np.testing.assert_array_equal(
      found["head"]["kernel"], adapt(own._replace(x=own.x + 1), key)["head"]["kernel"]
    )
    distances = [
      float(abs(found["head"]["kernel"] - e["head"]["kernel"]).max()) for e in expected
    ]
    assert min(distances) < 1e-4
    seen.add(int(np.argmin(distances)))
  assert seen == {0, 1, 2}


def test_heads_are_a_family_like_any_other():
  """The mean and the nearest head of a bank of heads, without rows that only fill up."""
  source = make_source(forms=((WAYS, SHOTS), (2, SHOTS)))
  family = dataclasses.replace(make_generator().family, ways=(WAYS, 2), shots=(SHOTS,))
  first = int(source.first[1])
  own = jax.tree.map(lambda leaf: leaf[first : first + 4], source.bank)
  bank = family.unpadded(own, Protocol(2, SHOTS))
  assert bank.tasks.shape == (4, 2)
  method = mean_of_bank(Known(family, None), bank)
  found = method.adapt(method.variables, _support(), KEY, 2)
  assert found["head"]["kernel"].shape == (WIDTH, 2)
  np.testing.assert_allclose(
    found["head"]["bias"], own.weights["head"]["bias"][:, -1, :2].mean(0), rtol=1e-6
  )


def test_an_ensemble_says_the_mean_of_what_its_samples_say():
  """Which are different ones, at τ = 1; here of probabilities."""
  generator, key = make_generator(), jax.random.key(3)
  x = jax.random.normal(jax.random.key(4), (WAYS * SHOTS, WIDTH))
  support = Support(x, jnp.arange(WAYS * SHOTS) % WAYS)
  method = ensembled("generated", generator, 3)
  params = method.adapt(method.variables, support, key, WAYS)
  (own,) = params
  said = jax.vmap(lambda one: generator.outputs(one, x))(own)
  assert float(jnp.std(said, axis=0).min()) > 0
  found = jax.nn.softmax(method.predict(method.variables, params, x))
  np.testing.assert_allclose(found, jax.nn.softmax(said).mean(0), rtol=1e-4, atol=1e-6)
