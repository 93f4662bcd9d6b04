"""The trajectory against plain loops in numpy's manner, float64 to rounding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcdi_jax.lib.errors import InputError
from mcdi_jax.preparation import PreparationConfig, trajectory

RATE = 0.1
NOISE = 0.3
RECORD = (3, 7, 10)
START = np.array([1.0, -2.0, 0.5])
CURVED = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


def _loss(params: Any, batch: Any) -> jax.Array:
  w = jnp.concatenate([params["a"], params["b"][None]])
  return 0.5 * w @ CURVED @ w + jnp.sum(jnp.cos(w + batch))


def _gradient(w: np.ndarray, batch: np.ndarray) -> np.ndarray:
  return CURVED @ w - np.sin(w + batch)


def _draw(key: jax.Array) -> jax.Array:
  return NOISE * jax.random.normal(key, (3,))


def _trajectory(radius: float, record: tuple[int, ...]) -> Any:
  params = {"a": jnp.asarray(START[:2]), "b": jnp.asarray(START[2])}
  return trajectory(
    _loss,
    params,
    _draw,
    jax.random.key(0),
    optimiser=optax.adam(RATE),
    record=record,
    sam_radius=radius,
  )


def _run(radius: float, record: tuple[int, ...] = RECORD) -> np.ndarray:
  """[k, 3] weights that `trajectory` records."""
  found = _trajectory(radius, record)
  return np.concatenate([found.weights["a"], found.weights["b"][:, None]], axis=1)


def _by_hand(radius: float) -> np.ndarray:
  """Adam as Kingma & Ba write it; with a radius, at θ + ρ ∇L/‖∇L‖ on the same batch."""
  w, m, v, path = START.copy(), np.zeros(3), np.zeros(3), []
  for step in range(RECORD[-1]):
    batch = np.asarray(_draw(jax.random.fold_in(jax.random.key(0), step)))
    g = _gradient(w, batch)
    if radius:
      g = _gradient(w + radius * g / np.sqrt(g @ g), batch)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    t = step + 1
    w = w - RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    path.append(w)
  return np.stack([path[m - 1] for m in RECORD])


@pytest.mark.parametrize("radius", [0.0, 0.5])
def test_adam_and_sam_by_hand(radius: float):
  """Radius 0 is Adam itself. 1e-9: optax keeps Adam's constants in lower precision."""
  with jax.enable_x64(True):
    found, expected = _run(radius), _by_hand(radius)
  assert found.shape == (3, 3)
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_sharpness_changes_the_path():
  with jax.enable_x64(True):
    assert np.abs(_by_hand(0.5) - _by_hand(0.0)).max() > 1e-3


def test_recording_in_between_changes_nothing():
  """θ_M is the same whether other steps were recorded or not."""
  with jax.enable_x64(True):
    np.testing.assert_allclose(_run(0.0, (10,))[-1], _run(0.0)[-1], rtol=1e-12)


@pytest.mark.parametrize(
  ("steps", "targets", "expected"),
  [
    (60, 3, (20, 40, 60)),
    (10, 3, (3, 7, 10)),
    (10, 4, (3, 5, 8, 10)),  # 2.5 and 7.5 round up
    (5, 5, (1, 2, 3, 4, 5)),
    (7, 1, (7,)),
  ],
)
def test_recorded_steps(steps: int, targets: int, expected: tuple[int, ...]):
  """⌊i·M/k + ½⌋ for i = 1 … k."""
  assert PreparationConfig(steps=steps).recorded_steps(targets) == expected


def test_more_targets_than_steps():
  with pytest.raises(InputError, match=r"config\.diffusion\.segments is 6.*M = 5"):
    PreparationConfig(steps=5).recorded_steps(6)


@pytest.mark.parametrize(
  ("name", "value"),
  [("tasks", 0), ("steps", -3), ("shard_tasks", 0), ("rate", -0.5)],
)
def test_settings_that_cannot_be(name: str, value: Any):
  """The message has the setting and its value."""
  with pytest.raises(InputError, match=rf"config\.preparation\.{name} is {value}: "):
    PreparationConfig(**{name: value})


def test_more_targets_are_no_larger_program():
  """The gradient is traced once, not for each target: compilation is most of a small
  bank's time."""
  size = lambda record: len(str(jax.make_jaxpr(lambda: _trajectory(0.0, record))()))  # noqa: E731
  assert size((2, 4, 6, 8, 10)) < 1.1 * size((5, 10))
