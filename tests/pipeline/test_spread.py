"""Samples at τ = 1 and at equal spread."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, make_generator, make_source

from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import EvaluationConfig, draw_task, task_keys
from mcdi_jax.generator import generate_from_features
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config
from mcdi_jax.pipeline.generator import Trained
from mcdi_jax.pipeline.spread import _crossing, pairwise_distance, sample_rows
from mcdi_jax.pipeline.tuning import Choice, Tuned
from mcdi_jax.tasks import Protocol
from mcdi_jax.weights import weight_space

KEY = jax.random.key(0)


def test_distance_is_over_all_pairs_and_free_weights():
  """By hand: the mean square over pairs, classes less their mean, in units of the scale."""
  params = {
    "head": {"kernel": jax.random.normal(KEY, (5, 7, 3)), "bias": jnp.zeros((5, 3))}
  }
  family = make_generator().family
  one = jax.tree.map(lambda leaf: leaf[0], params)
  space = dataclasses.replace(weight_space(one, family.cuts), scale=jnp.float32([2.0, 1.0]))
  kernel = np.asarray(params["head"]["kernel"]) / 2
  kernel = kernel - kernel.mean(2, keepdims=True)
  pairs = [(a, b) for a in range(5) for b in range(a)]
  squares = [np.sum((kernel[a] - kernel[b]) ** 2) for a, b in pairs]
  expected = np.sqrt(np.mean(squares) / (2 * 8))
  np.testing.assert_allclose(pairwise_distance(params, space), expected, rtol=1e-5)


def test_the_crossing_is_found_to_half_a_percent():
  assert _crossing(lambda tau: tau**2, 0.25) == pytest.approx(0.5, abs=0.005)
  assert _crossing(lambda tau: tau, 2.0) == 1.0


def test_rows_are_those_of_generators_trained_on_weights():
  """The least spread keeps τ = 1, the other comes down to it; each is paired with what
  `generated` is at the same terms."""
  names = ("generated", "generated_finished", "k1")
  config = Config(generators=names, evaluation=EvaluationConfig(samples=4))
  wide, narrow = make_generator(), make_generator(segments=1)
  half = dataclasses.replace(narrow.space, scale=narrow.space.scale / 2)
  narrow = dataclasses.replace(narrow, space=half)
  found = {
    name: Tuned(Trained(g, 1.0), Choice({"temperature": 0.0}, 1, [], None))
    for name, g in zip(names, (wide, wide, narrow), strict=True)
  }
  rows = sample_rows(config, found, Protocol(WAYS, SHOTS, 1), make_source().items)
  by_name = {row.method.name: row for row in rows}
  assert list(by_name) == [
    f"{name}_at_{how}" for name in ("generated", "k1") for how in ("tau_1", "equal_spread")
  ]
  assert by_name["k1_at_tau_1"].against == "generated_at_tau_1"
  told = {name: row.method.settings for name, row in by_name.items()}
  distances = [told[f"{n}_at_tau_1"]["pairwise_distance"] for n in ("generated", "k1")]
  assert distances[1] < distances[0]
  assert told["k1_at_equal_spread"]["temperature"] == pytest.approx(1.0, abs=0.01)
  equal = told["generated_at_equal_spread"]
  assert equal["temperature"] < 0.95
  assert equal["pairwise_distance"] == pytest.approx(distances[1], rel=0.02)
  again = _at(config, found, equal["temperature"])
  assert again == pytest.approx(equal["pairwise_distance"], rel=1e-3)
  none = dataclasses.replace(config, evaluation=EvaluationConfig())
  assert sample_rows(none, found, Protocol(WAYS, SHOTS, 1), make_source().items) == []


def _at(config: Config, found: dict[str, Tuned], tau: float) -> float:
  """The main generator's spread at this τ, on the same tasks, sample by sample."""
  generator = found["generated"].trained.generator
  form, items = Protocol(WAYS, SHOTS, 1), make_source().items
  distances = []
  for key in task_keys(config.evaluation.eval_seed, 32, "spread"):
    task, _, key = draw_task(key, generator.family, items, form)
    keys = jax.random.split(key, config.evaluation.samples)
    settings = {"temperature": tau, "ways": WAYS}
    adapt = functools.partial(generate_from_features, generator, task.support, **settings)
    samples = jax.vmap(adapt)(keys)
    distances.append(float(pairwise_distance(samples, generator.space)))
  return float(np.mean(distances))


def test_samples_that_are_not_finite_have_no_rows():
  names, good = ("generated", "k1"), make_generator()
  score = jax.tree.map(lambda leaf: leaf * jnp.nan, good.score)
  wild = dataclasses.replace(good, score=score)
  config = Config(generators=names, evaluation=EvaluationConfig(samples=2))
  found = {
    name: Tuned(Trained(g, 1.0), Choice({"temperature": 0.0}, 1, [], None))
    for name, g in zip(names, (good, wild), strict=True)
  }
  rows = sample_rows(config, found, Protocol(WAYS, SHOTS, 1), make_source().items)
  assert [row.against for row in rows] == [
    "generated_at_tau_1",
    "generated_at_equal_spread",
  ]
  assert all(row.method.name.startswith("generated") for row in rows)


def test_a_chain_of_one_step_has_no_samples():
  one = DiffusionConfig(steps=1, segments=1, schedule="linear_auto")
  with pytest.raises(InputError, match=r"evaluation\.samples is 4: a chain of one step"):
    Config(diffusion=one, evaluation=EvaluationConfig(samples=4))


def test_one_sample_has_no_spread():
  with pytest.raises(InputError, match=r"samples is 1: give at least 2"):
    EvaluationConfig(samples=1)
