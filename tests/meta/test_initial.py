"""θ_0 by REPTILE on the family's own loss."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import sines
from mcdi_jax.lib.config import to_config_dict
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import InitialConfig, initial_training
from mcdi_jax.weights.leaves import part

FAMILY = sines.FAMILY
KEY = jax.random.key(0)
FROZEN = FAMILY.init_frozen(jax.random.key(1))
ITEMS = jax.tree.map(jnp.asarray, sines.get_suite().train)


def _trained(config: InitialConfig) -> tuple[Any, list[Any]]:
  init, step = initial_training(FAMILY, config)
  state, metrics = init(FROZEN), []
  for _ in range(config.steps):
    state, found = step(state, KEY, FROZEN, ITEMS)
    metrics.append(jax.device_get(found))
  return state, metrics


def _adapted(init: Any, task: Any, key: Any, config: InitialConfig) -> Any:
  """Plain descent, a support that is new at each step."""
  params = init
  for j in range(config.inner_steps):
    support = FAMILY.support(jax.random.fold_in(key, j), ITEMS, task, config.shots)

    def loss(params: Any, support: Any = support) -> Any:
      return FAMILY.loss(FAMILY.apply(FROZEN, params, support.x), support.y).mean()

    gradient = jax.grad(loss)(params)
    params = jax.tree.map(lambda p, g: p - config.inner_rate * g, params, gradient)
  return params


def test_one_outer_step_moves_towards_the_adapted_weights():
  """(θ_0 − mean_b θ_b) / (J η), down which Adam's first step goes by its sign."""
  config = InitialConfig(steps=1, tasks=3, shots=5, inner_steps=2, inner_rate=0.05, ema=0.0)
  state, _ = _trained(config)
  k_tasks, k_items = jax.random.split(jax.random.fold_in(KEY, 0))
  keys = jax.random.split(k_tasks, 3)
  tasks = [FAMILY.draw_task(k, ITEMS, FAMILY.largest.ways) for k in keys]
  each = zip(tasks, jax.random.split(k_items, 3), strict=True)
  adapted = [_adapted(FROZEN["init"], task, k, config) for task, k in each]
  mean = jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), 0), *adapted)
  reach = config.inner_steps * config.inner_rate
  gradient = jax.tree.map(lambda a, b: (a - b) / reach, FROZEN["init"], mean)
  moment = optax.tree.get(state.opt_state, "mu")
  expected = jax.tree.map(lambda g: 0.1 * g, gradient)
  chex.assert_trees_all_close(moment, expected, rtol=1e-5, atol=1e-5)


def test_it_makes_what_few_steps_reach_better():
  config = InitialConfig(
    steps=150, tasks=8, shots=10, inner_steps=4, inner_rate=0.02, rate=1e-2
  )
  state, metrics = _trained(config)
  first, last = metrics[:20], metrics[-20:]
  mean = lambda lines: np.mean([line["adapted"] for line in lines])  # noqa: E731
  assert mean(last) < 0.8 * mean(first)
  chex.assert_trees_all_equal_shapes(state.ema, FROZEN["init"])


def test_leaves_that_tasks_do_not_share_are_left_out():
  """Such as the head of a classifier, whose θ_0 is zero."""
  whole = {"blocks": {"a": 1, "b": 2}, "head": 3}
  assert part({"blocks": {"b": 0}}, whole) == {"blocks": {"b": 2}}


@pytest.mark.parametrize(
  ("setting", "value"),
  [("steps", -1), ("tasks", 0), ("inner_rate", 0.0), ("rate", -1.0), ("ema", 1.0)],
)
def test_settings_out_of_range_are_named(setting: str, value: Any):
  with pytest.raises(InputError, match=rf"config\.initial\.{setting} is {value}"):
    InitialConfig(**{setting: value})
  assert to_config_dict(InitialConfig()).steps == 0
