"""Samples at τ = 1 and at equal spread."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, make_generator, make_source

from mcdi_jax.evaluation import EvaluationConfig
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
  kernel = np.asarray(kernel) / 2
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
  tau = told["generated_at_equal_spread"]["temperature"]
  assert (
    tau < 0.95 and told["generated_at_equal_spread"]["pairwise_distance"] == distances[1]
  )
  none = dataclasses.replace(config, evaluation=EvaluationConfig())
  assert sample_rows(none, found, Protocol(WAYS, SHOTS, 1), make_source().items) == []


def test_one_sample_has_no_spread():
  with pytest.raises(InputError, match=r"samples is 1: give at least 2"):
    EvaluationConfig(samples=1)
