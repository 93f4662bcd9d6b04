"""The outer optimiser and the average, step by step, by hand in float64."""

import dataclasses
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import SHOTS, WAYS, make_generator, make_source

from mcdi_jax.data import ClassSet
from mcdi_jax.meta import (
  FinishingConfig,
  MetaConfig,
  finishing,
  meta_training,
  validation,
)
from mcdi_jax.meta import training as module
from mcdi_jax.meta.training import Training, adam, outer_optimiser, outer_training
from mcdi_jax.tasks import Protocol

finishing_module = importlib.import_module("mcdi_jax.meta.finishing")
STEPS, RATE, EMA = 40, 0.1, 0.9


def _rates(steps: int, warmup: float, peak: float) -> list[float]:
  """Of each step: rises from 0 over int(warmup · steps) of them, then a cosine to 0."""
  rise = int(warmup * steps)
  fall = lambda n: 0.5 * (1 + np.cos(np.pi * (n - rise) / (steps - rise)))  # noqa: E731
  return [peak * (n / rise if n < rise else fall(n)) for n in range(steps)]


def _adam(gradients: Any, rates: list[float]) -> list[float]:
  """The path from 0 along these gradients (Kingma & Ba 2015)."""
  m, v, x, path = 0.0, 0.0, 0.0, []
  for n, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    x -= rate * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
    path.append(x)
  return path


def _run(optimiser: Any, gradients: Any) -> tuple[list[float], list[float]]:
  """Params and averages of `outer_training` along these gradients, from 0."""

  def gradient(score: Any, generator: Any, batch: Any, key: Any) -> Any:
    del generator, batch, key
    return jax.tree.map(lambda _: jnp.float32(gradients)[place["step"]], score), {}

  place: dict[str, Any] = {}
  made = outer_training(lambda *_: None, gradient, optimiser, EMA)
  state, scores, averages = made.init({"a": jnp.float32(0)}), [], []
  step = made.step.__wrapped__  # not compiled: `place`
  for n in range(len(gradients)):
    place["step"] = n
    state, _ = step(state, make_generator(), None, jax.random.key(0))
    scores.append(float(state.score["a"]))
    averages.append(float(state.ema["a"]))
  return scores, averages


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_adams_schedule_and_the_average_by_hand(warmup: float):
  """The rate peaks where the warm-up ends, and is 0 at the end; the average's memory is
  (1 + n)/(10 + n) at first, never longer than `ema`."""
  gradients = np.random.default_rng(0).normal(size=STEPS)
  optimiser = adam(RATE, steps=STEPS, warmup=warmup, clip=0.0)
  scores, averages = _run(optimiser, gradients)
  expected = _adam(gradients, _rates(STEPS, warmup, RATE))
  np.testing.assert_allclose(scores, expected, atol=1e-5)
  average, by_hand = 0.0, []
  for n, score in enumerate(expected):
    decay = min(EMA, (1 + n) / (10 + n))
    average = decay * average + (1 - decay) * score
    by_hand.append(average)
  np.testing.assert_allclose(averages, by_hand, atol=1e-5)
  moves = abs(np.diff(scores))
  assert moves[-1] < 0.1 * moves.max()


def test_gradients_are_clipped_to_the_norm_and_small_ones_are_left():
  gradients = np.float64([3.0, -0.2, 0.1, -5.0, 0.4])
  optimiser = adam(RATE, steps=5, warmup=0.0, clip=0.5)
  scores, _ = _run(optimiser, gradients)
  expected = _adam(gradients.clip(-0.5, 0.5), _rates(5, 0.0, RATE))
  np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(("algorithm", "steps"), [("reptile", 20), ("single_level", 60)])
def test_the_schedule_is_as_long_as_the_training(algorithm: Any, steps: int):
  """Single level takes J = 3 times the steps of REPTILE."""
  config = MetaConfig(steps=20, inner_steps=3, rate=RATE, warmup=0.2, clip=0.0)
  gradients = np.random.default_rng(1).normal(size=steps)
  scores, _ = _run(outer_optimiser(config, algorithm), gradients)
  np.testing.assert_allclose(scores, _adam(gradients, _rates(steps, 0.2, RATE)), atol=1e-5)


@pytest.mark.parametrize("kind", ["reptile", "single_level", "query_loss"])
def test_each_training_is_given_its_own_settings(
  monkeypatch: pytest.MonkeyPatch, kind: Any
):
  """The average's decay, and the optimiser's."""
  given: dict[str, Any] = {}

  def outer(draw: Any, gradient: Any, optimiser: Any, ema: float) -> Training:
    given["ema"] = ema
    return Training(gradient, draw, gradient)

  def made(rate: float, **settings: Any) -> Any:
    given.update(settings, rate=rate)
    return optax.identity()

  for place in (module, finishing_module):
    monkeypatch.setattr(place, "outer_training", outer)
    monkeypatch.setattr(place, "adam", made)
  settings = {"warmup": 0.3, "clip": 0.7, "ema": 0.6}
  if kind == "query_loss":
    config = FinishingConfig(steps=7, rate=5.0, **settings)
    finishing(config, steps=11, rate=0.2)
    assert given == settings | {"steps": 11, "rate": 0.2}
  else:
    config = MetaConfig(steps=7, inner_steps=2, rate=0.1, **settings)
    meta_training(config, kind)
    steps = 7 if kind == "reptile" else 14
    assert given == settings | {"steps": steps, "rate": 0.1}


def _untouched() -> Training:
  optimiser = adam(1.0, steps=1, warmup=0.0, clip=0.0)
  return outer_training(lambda *_: None, lambda *_: None, optimiser, 0.9)


def test_validation_looks_at_the_average():
  """Not at the params that it averages; of equals the first is kept."""
  generator, features = make_generator(), make_source().items
  validate = validation([Protocol(WAYS, SHOTS, 2)], jax.random.key(0), tasks=10)
  state = _untouched().init(generator.score)

  def look(state: Any, features: ClassSet) -> tuple[Any, float]:
    state, metrics = validate(state, generator, features)
    return state, float(metrics[f"val_{WAYS}w{SHOTS}s"])

  first, accuracy = look(state, features)
  nan = jax.tree.map(lambda leaf: leaf * jnp.nan, state.score)
  assert look(state._replace(score=nan), features)[1] == accuracy
  shifted = jax.tree.map(lambda leaf: leaf + 0.0, first.ema)
  relabelled = jax.tree.map(jnp.negative, first.best)
  kept, again = look(first._replace(ema=shifted, best=relabelled), features)
  assert again == accuracy
  for a, b in zip(*map(jax.tree.leaves, (kept.best, relabelled)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_best_or_the_last_average_generates():
  generator = make_generator()
  state = _untouched().init(generator.score)._replace(best=1, ema=2, score=3)
  assert module.selected(state, MetaConfig(select="best")) == 1
  assert module.selected(state, dataclasses.replace(MetaConfig(), select="last")) == 2
