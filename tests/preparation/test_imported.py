"""Checkpoints that exist already become a bank, or are refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pytest

from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import as_path
from mcdi_jax.preparation import bank_facts, import_bank, read_bank
from mcdi_jax.weights import save_weights


def _params(seed: int) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  return {
    "layer": {
      "kernel": np.float32(rng.normal(size=(3, 2))),
      "bias": np.zeros(2, np.float32),
    },
    "step": np.int32(seed),
  }


def _trajectory(seed: int) -> list[dict[str, Any]]:
  """Three targets on a line."""
  end = _params(seed)
  return [{**end, "layer": {n: i * x for n, x in end["layer"].items()}} for i in (1, 2, 3)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
  """Tasks 2, 9 and 10, which sort as people do; the last one by Orbax."""
  place = tmp_path / "source"
  for seed in (2, 9):
    (place / f"task_{seed}").mkdir(parents=True)
    for n, params in enumerate(_trajectory(seed)):
      save_weights(place / f"task_{seed}" / f"{n}.safetensors", params)
  for n, params in enumerate(_trajectory(10)):
    with ocp.PyTreeCheckpointer() as checkpointer:
      checkpointer.save(place / "task_10" / str(n), params)
  return place


def _import(source: Path, **settings: Any) -> Any:
  return import_bank(as_path(source), as_path(source.parent / "bank"), **settings)


def test_checkpoints_become_a_bank(source: Path):
  """Every leaf of floats, in the order of names; what no task differs in is told."""
  found = _import(source)
  assert found == (["task_2", "task_9", "task_10"], 3, ["step"], ["layer/bias"], [])
  bank, losses = read_bank(as_path(source.parent / "bank"))
  assert losses is None
  np.testing.assert_array_equal(bank.tasks, [0, 1, 2])
  for n, seed in enumerate((2, 9, 10)):
    expected = [params["layer"]["kernel"] for params in _trajectory(seed)]
    np.testing.assert_array_equal(bank.weights["layer"]["kernel"][n], expected)


def test_facts_of_a_bank(source: Path):
  _import(source)
  facts = bank_facts(as_path(source.parent / "bank"))
  assert (facts.tasks, facts.targets, facts.weights) == (3, 3, 8)
  assert facts.size == 3 * 3 * 8 * 4
  np.testing.assert_allclose(facts.bends, np.ones((3, 1)), rtol=1e-5)  # straight
  bias, kernel = facts.leaves
  assert (bias.path, bias.rms, kernel.path) == ("layer/bias", 0, "layer/kernel")
  last = np.stack([_trajectory(seed)[-1]["layer"]["kernel"] for seed in (2, 9, 10)])
  assert kernel.rms == pytest.approx(np.sqrt(np.mean(last**2)), rel=1e-5)
  assert kernel.spread == pytest.approx(np.sqrt(last.var(0).mean()) / kernel.rms, rel=1e-5)


def test_a_corner_has_no_bend_of_one(tmp_path: Path):
  """Steps at right angles."""
  for seed in (0, 1):
    (tmp_path / "source" / f"t{seed}").mkdir(parents=True)
    for n, at in enumerate([(0.0, 0.0), (1.0, 0.0), (1.0, 2.0)]):
      place = tmp_path / "source" / f"t{seed}" / f"{n}.safetensors"
      save_weights(place, {"w": np.float32(at) + seed})
  _import(tmp_path / "source")
  facts = bank_facts(as_path(tmp_path / "bank"))
  np.testing.assert_allclose(facts.bends, 0, atol=1e-6)


def test_tasks_are_told_by_name(source: Path):
  tasks = {"task_2": [4, 5], "task_9": [6, 7], "task_10": [8, 9], "other": [0, 0]}
  _import(source, tasks=tasks)
  bank, _ = read_bank(as_path(source.parent / "bank"))
  np.testing.assert_array_equal(bank.tasks, [[4, 5], [6, 7], [8, 9]])
  with pytest.raises(InputError, match="the tasks of task_9, task_10 are not told"):
    _import(source, tasks={"task_2": 0})


@pytest.mark.parametrize("wrong", ["x", [1, 2, 3], None, 10**12])
def test_tasks_in_no_form_are_refused(source: Path, wrong: Any):
  tasks = {"task_2": [4, 5], "task_9": wrong, "task_10": [8, 9]}
  with pytest.raises(InputError, match="not all integers in one form"):
    _import(source, tasks=tasks)


def test_one_file_a_task_is_its_last_target(tmp_path: Path):
  for seed in (1, 2):
    save_weights(tmp_path / "s" / f"{seed}.safetensors", _params(seed))
  save_weights(tmp_path / "s" / "3.safetensors", _params(2) | {"step": np.int32(3)})
  found = import_bank(as_path(tmp_path / "s"), as_path(tmp_path / "bank"))
  assert (found.names, found.targets) == (["1", "2", "3"], 1)
  bank, _ = read_bank(as_path(tmp_path / "bank"))
  assert bank.weights["layer"]["kernel"].shape == (3, 1, 3, 2)


def test_equal_checkpoints_are_named(tmp_path: Path):
  for name in ("a", "b"):
    save_weights(tmp_path / "s" / f"{name}.safetensors", _params(1))
  assert import_bank(as_path(tmp_path / "s"), as_path(tmp_path / "b")).duplicates == [
    ("a", "b")
  ]


def _with(**leaves: Any) -> dict[str, Any]:
  params = _params(3)
  return {**params, "layer": {**params["layer"], **leaves}}


@pytest.mark.parametrize(
  ("params", "said"),
  [
    (
      _with(kernel=np.ones((4, 2), np.float32)),
      r"leaf layer/kernel of b has shape \(4, 2\)",
    ),
    (_with(more=np.ones(2, np.float32)), r"leaf layer/more of b has shape \(2,\)"),
    (
      _with(kernel=np.full((3, 2), np.nan, np.float32)),
      "b has weights that are not finite",
    ),
  ],
)
def test_what_is_no_network_of_the_bank_is_named(tmp_path: Path, params: Any, said: str):
  save_weights(tmp_path / "s" / "a.safetensors", _params(1))
  save_weights(tmp_path / "s" / "b.safetensors", params)
  with pytest.raises(InputError, match=said) as raised:
    import_bank(as_path(tmp_path / "s"), as_path(tmp_path / "bank"))
  assert "\n" not in str(raised.value)
  assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize("name", ["model.pt", "task_2/model.PKL", "pytorch_model.bin"])
def test_a_pickle_is_never_read(source: Path, name: str):
  """Nor is the rest, as if it were not there."""
  (source / name).write_bytes(b"\x80\x04.")
  with pytest.raises(InputError, match="looks like a pickle"):
    _import(source)


def test_a_folder_without_checkpoints(tmp_path: Path):
  (tmp_path / "notes.txt").write_text("x")
  for place in (tmp_path, tmp_path / "absent"):
    with pytest.raises(MissingError, match="checkpoint"):
      import_bank(as_path(place), as_path(tmp_path / "bank"))


def test_a_bank_that_is_not_whole(source: Path):
  _import(source)
  place = source.parent / "bank"
  manifest = json.loads((place / "manifest.json").read_text())
  (place / "manifest.json").write_text(
    json.dumps(manifest | {"tasks": 9, "shard_tasks": 3})
  )
  with pytest.raises(MissingError, match="lacks 2 of 3 shards"):
    read_bank(as_path(place))
  with pytest.raises(MissingError, match="there is no bank"):
    read_bank(as_path(source))
