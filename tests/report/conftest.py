"""Workdirs as `launch.run` writes them, small and with figures made up by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.lib import files

STEPS, SEGMENTS = 6, 2
CONFIG = {
  "backbone_dir": "",
  "data": {"path": "", "source": "glyphs", "split_seed": 0},
  "evaluation": {"eval_seed": 1234, "tasks": 500, "queries": 15},
  "meta": {"ways": [5], "shots": [1], "note": '<b>&"bold"</b>'},
  "seeds": [0],
}


def accuracy_line(method: str, accuracy: float | None, **values: Any) -> dict[str, Any]:
  known = {
    "method": method,
    "family": "heads",
    "metric": None if accuracy is None else "accuracy",
    "data": "glyphs",
    "protocol": "glyphs-200",
    "ways": 5,
    "shots": 1,
    "queries": 15,
    "seed": 0,
    "eval_seed": 1234,
    "tasks": 500,
    "accuracy": accuracy,
    "value": accuracy,
    "ci95": 0.21,
    "paired_against": None if method == "generated" else "generated",
    "paired_diff": None,
    "paired_ci95": None,
    "transductive": False,
    "parameters": None,
    "latency_ms": None,
    "budget_s": None,
    "device": "cpu",
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
    "commit": "c0ffee+",
  }
  return known | values


RESULTS = [
  accuracy_line("generated", 96.71, parameters=94313, budget_s=18.9),
  accuracy_line("prototypes", 96.52, paired_diff=-0.23, paired_ci95=0.06),
  accuracy_line("finetune", 96.78, paired_diff=0.07, paired_ci95=0.08),
  accuracy_line("tuned<&>", 97.34, paired_diff=0.63, paired_ci95=0.11),
  accuracy_line(
    "generated",
    None,
    protocol="latency-head",
    latency_ms=58.7,
    batch=256,
    settings={"share_of_matmul_peak": 0.27},
  ),
]
METRICS = [
  {"phase": "backbone", "step": 50, "loss": 3.1, "accuracy": 31.5, "seconds": 5.3},
  {"phase": "backbone", "step": 100, "loss": None, "accuracy": 57.6, "seconds": 1.6},
  *(
    {"phase": "generated", "seed": 0, "step": s, "loss_1": 9 / s, "loss_2": 30 / s}
    for s in (50, 100, 150)
  ),
  {"phase": "generated", "seed": 0, "step": 100, "val_5w1s": 96.1, "norm_5w1s": 0.9},
  {"phase": "generated", "seed": 0, "step": 150, "val_5w1s": 96.7, "norm_5w1s": 0.9},
]


def arrays(segments: int = SEGMENTS) -> dict[str, np.ndarray]:
  """What `pictures.safetensors` holds. Of task 1, query 1 of class 2 is taken for 3."""
  rng = np.random.default_rng(0)
  x, y = np.linspace(-1, 2, 12), np.linspace(-1, 1, 12)
  predicted = np.tile(np.arange(5)[:, None], (2, 1, 3))
  predicted[0, 1, 0] = 2
  image = (5, 8, 8, 1)
  return {
    "chain_error_train": np.linspace(1, 0.3, STEPS),
    "chain_error_test": np.linspace(1.1, 0.4, STEPS),
    "chain_boundaries": np.linspace(0, STEPS, segments + 1)[1:].astype(int),
    "chain_gap_train": np.full(segments - 1, 0.04),
    "chain_gap_test": np.full(segments - 1, 0.05),
    "plane_loss": 0.1 + x[None] ** 2 + y[:, None] ** 2,
    "plane_x": x,
    "plane_y": y,
    "plane_chains": rng.normal(size=(3, STEPS + 1, 2)),
    "plane_targets": rng.normal(size=(segments, 2)),
    "plane_quality": np.array([96.4, 95.3, 94.2]),
    "example_support": rng.integers(0, 255, (2, 5, 1, *image[1:]), np.uint8),
    "example_query": rng.integers(0, 255, (2, 5, 3, *image[1:]), np.uint8),
    "example_predicted": predicted,
  }


Maker = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Maker:
  """`make_run(name, config=…, results=…, metrics=…, pictures=…)`; None: no such file."""

  def make(
    name: str = "run",
    config: dict | None = CONFIG,
    results: list | None = RESULTS,
    metrics: list | None = METRICS,
    pictures: dict | None = None,
  ) -> Path:
    place = tmp_path / name
    place.mkdir()
    if config is not None:
      (place / "config.json").write_text(json.dumps(config))
    for file, lines in (("results", results), ("metrics", metrics)):
      if lines is not None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (place / f"{file}.jsonl").write_text(text)
    if pictures is not None:
      files.write_arrays(files.as_path(place / "pictures.safetensors"), pictures)
    return place

  return make


@pytest.fixture
def fake() -> Any:
  """The made-up figures and the functions that make them."""
  import types

  return types.SimpleNamespace(
    config=CONFIG,
    results=RESULTS,
    metrics=METRICS,
    arrays=arrays,
    accuracy_line=accuracy_line,
  )
