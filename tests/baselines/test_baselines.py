"""Prototypes and fine-tuning: what they find, and from what."""

import inspect
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcdi_jax.baselines import FinetuneSettings, finetune, finetune_trials, prototypes
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import Query, Support

WAYS, SHOTS, WIDTH = 4, 3, 6


def _features(seed: int, shots: int) -> tuple[jax.Array, jax.Array]:
  """Classes around far corners, in mixed order."""
  rng = np.random.default_rng(seed)
  y = rng.permutation(np.repeat(np.arange(WAYS), shots))
  x = 10 * np.eye(WAYS, WIDTH)[y] + rng.normal(size=(len(y), WIDTH))
  return jnp.asarray(x, jnp.float32), jnp.asarray(y)


SUPPORT, QUERY = Support(*_features(0, SHOTS)), Query(*_features(1, 20))


def test_prototypes_classify_separable_features():
  method = prototypes()
  params = method.adapt(method.variables, SUPPORT, jax.random.key(0), WAYS)
  predicted = apply_head(params, QUERY.x).argmax(-1)
  np.testing.assert_array_equal(predicted, QUERY.y)


def _support_loss(params: Any) -> float:
  logits = apply_head(params, SUPPORT.x)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, SUPPORT.y)
  return float(losses.mean())


MEAN = jnp.linspace(-1.0, 2.0, WIDTH)


def _adapt(*settings: Any) -> Any:
  method = finetune(FinetuneSettings(*settings), MEAN)
  adapt = jax.jit(method.adapt, static_argnums=3)
  return adapt(method.variables, SUPPORT, jax.random.key(0), WAYS)


def test_fine_tuning_lowers_the_support_loss():
  """Below the log 4 of a zero head; more steps lower it further; the classifier works."""
  few = _adapt("adamw", 0.0, 2, 0.01, 0.0)
  many = _adapt("adamw", 0.0, 20, 0.01, 0.0)
  assert _support_loss(many) < 0.7 * _support_loss(few) < 0.7 * np.log(WAYS)
  assert float((apply_head(many, QUERY.x).argmax(-1) == QUERY.y).mean()) > 0.95


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_fine_tuning_is_a_descent_on_the_whole_support(name: str, centred: bool):
  """A loop of optax steps; θ_0 is Gaussian of the given scale. On features with their
  mean added back, the head comes back as one for the features as they are. Float32
  rounding."""
  offset = jnp.zeros(WIDTH) if centred else MEAN
  k_init, _ = jax.random.split(jax.random.key(0))
  kernel = 0.1 * jax.random.normal(k_init, (WIDTH, WAYS))
  params = {"head": {"kernel": kernel, "bias": jnp.zeros(WAYS)}}
  optimiser = {
    "adamw": optax.adamw(0.05, weight_decay=0.1),
    "sgd": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05)),
  }[name]

  def loss(params: Any) -> jax.Array:
    log_p = jax.nn.log_softmax(apply_head(params, SUPPORT.x + offset))
    return -jnp.mean(log_p[jnp.arange(len(SUPPORT.y)), SUPPORT.y])

  state = optimiser.init(params)
  for _ in range(2):
    updates, state = optimiser.update(jax.grad(loss)(params), state, params)
    params = optax.apply_updates(params, updates)
  found = _adapt(name, 0.1, 2, 0.05, 0.1, centred)
  kernel = found["head"]["kernel"]
  chex.assert_trees_all_close(kernel, params["head"]["kernel"], rtol=1e-4, atol=1e-5)
  expected = apply_head(params, QUERY.x + offset)
  np.testing.assert_allclose(apply_head(found, QUERY.x), expected, rtol=1e-3, atol=1e-3)


def test_trials_share_their_functions():
  """As many compilations as there are numbers of steps, however many trials."""
  trials = finetune_trials("adamw", 40, MEAN)
  assert len(trials) == 40
  for a in trials:
    for b in trials:
      same_steps = a.settings["steps"] == b.settings["steps"]
      assert (a.adapt is b.adapt) == same_steps
  assert len({m.adapt for m in trials}) <= 5
  structures = {jax.tree.structure(m.variables) for m in trials}
  assert len(structures) == 1
  assert len({tuple(m.settings.values()) for m in trials}) == 40


def test_trials_are_the_same_each_time():

  def draw(number: int, seed: int = 0) -> list[dict[str, Any]]:
    return [m.settings for m in finetune_trials("sgd", number, MEAN, seed)]

  assert draw(5) == draw(5)
  assert draw(3) == draw(5)[:3]
  assert draw(5, seed=1) != draw(5)


@pytest.mark.parametrize(
  "method",
  [prototypes(), finetune(FinetuneSettings("adamw", 0.0, 2, 0.01, 0.0), MEAN)],
)
def test_a_method_sees_a_support_and_refuses_a_query(method: Any):
  """Its signature has no place for a query, and a query is not taken for a support
  (annotations are checked in tests)."""
  parameters = inspect.signature(method.adapt).parameters
  assert list(parameters) == ["variables", "support", "key", "ways"]
  assert parameters["support"].annotation is Support
  with pytest.raises(Exception, match="support"):
    method.adapt(method.variables, QUERY, jax.random.key(0), WAYS)
