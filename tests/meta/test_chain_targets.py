"""Which of the bank's targets a chain is trained on."""

import jax.numpy as jnp
import numpy as np
import pytest
from miniature import make_generator

from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta.batch import chain_targets


@pytest.mark.parametrize(
  ("chain", "chosen"),
  [
    ({"segments": 3}, [1, 3, 5]),
    ({"segments": 6}, [0, 1, 2, 3, 4, 5]),
    ({"segments": 1}, [5]),
    ({"segments": 1, "objective": "naive"}, [0, 1, 2, 3, 4, 5]),
  ],
  ids=["fewer", "all", "k1", "naive"],
)
def test_targets_of_a_chain_among_those_of_the_bank(chain, chosen):
  """One segment is trained on θ_M, the last of them; the naive objective on all."""
  kernel = jnp.arange(24.0).reshape(6, 2, 2)
  weights = {"head": {"kernel": kernel, "bias": kernel[:, 0]}}
  found = chain_targets(make_generator(**chain), weights)["head"]
  np.testing.assert_array_equal(found["kernel"], kernel[np.array(chosen)])
  np.testing.assert_array_equal(found["bias"], kernel[np.array(chosen), 0])


def test_naive_targets_know_no_segments_and_are_sampled_as_one():
  config = DiffusionConfig(segments=1, objective="naive")
  assert config.sampler_name == "windowed"
  with pytest.raises(InputError, match=r"config\.diffusion\.segments is 3: .*'naive'"):
    DiffusionConfig(segments=3, objective="naive")
  with pytest.raises(InputError, match=r"config\.diffusion\.handover needs"):
    DiffusionConfig(segments=1, objective="naive", handover=0.5)
