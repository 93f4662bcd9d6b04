"""A bank in windows: within its bytes, the same at every step, and all of it in turn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib import files
from mcdi_jax.pipeline.windows import Windows, windows_of
from mcdi_jax.preparation import Shards, Trajectory, open_bank

SETTINGS: dict[str, Any] = {"seed": 3, "tasks": 11, "shard_tasks": 2}


def _prepare(key: Any, items: Any) -> tuple[Any, Trajectory]:
  kernel = jnp.stack([jax.random.normal(key, (4, 2))] * 3)
  task = jax.random.randint(key, (), 0, 1000)
  return task, Trajectory({"kernel": kernel}, jnp.zeros(3))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
  """Five of two tasks, and one of a single task."""
  place = files.as_path(tmp_path_factory.mktemp("bank") / "b")
  return open_bank(place, _prepare, jnp.zeros(1), {}, **SETTINGS)


def test_what_fits_is_one_window(shards: Shards):
  assert windows_of([shards], shards.bytes) == [[[0, 1, 2, 3, 4, 5]]]
  assert windows_of([shards, shards], 2 * shards.bytes) == [[[*range(6)], [*range(6)]]]


@pytest.mark.parametrize("share", [0.5, 0.2, 1e-9])
def test_windows_stay_within_the_bytes_and_reach_every_whole_shard(
  shards: Shards, share: float
):
  """All of one size, or a step would be compiled again; one shard at the least."""
  limit = int(share * shards.bytes)
  found = [window for (window,) in windows_of([shards], limit)]
  assert len({len(window) for window in found}) == 1
  bytes_of_shard = shards.bytes / 6
  assert len(found[0]) == 1 or len(found[0]) * bytes_of_shard <= limit
  assert {s for window in found for s in window} == {0, 1, 2, 3, 4}
  assert all(len(set(window)) == len(window) for window in found)


def test_some_shards_are_their_part_of_the_whole(shards: Shards):
  """With the numbers that their tasks have in the bank, which kept supports depend on."""
  whole, numbers = shards.read()
  np.testing.assert_array_equal(numbers, np.arange(11))
  part, own = shards.read([4, 1])
  np.testing.assert_array_equal(own, [8, 9, 2, 3])
  np.testing.assert_array_equal(part.tasks, whole.tasks[own])
  np.testing.assert_array_equal(part.weights["kernel"], whole.weights["kernel"][own])


def test_a_window_is_read_when_its_turn_comes_and_not_twice():
  read: list[int] = []
  windows = Windows(lambda n: read.append(n) or n, 3, 10)  # type: ignore
  assert read == []
  found = [windows.at(step) for step in range(65)]
  assert read == [0, 1, 2, 0, 1, 2, 0]
  assert found[35] == 0 and found[45] == 1
  assert windows.at(35) == 0  # a run that goes on there


def test_one_window_is_there_for_all_steps():
  read: list[int] = []
  windows = Windows(lambda n: read.append(n) or n, 1, 10)  # type: ignore
  assert [windows.at(step) for step in (0, 25, 3)] == [0, 0, 0] and read == [0]
