"""The tables on the terminal."""

from typing import Any

import pytest

from mcdi_jax.evaluation import print_table
from mcdi_jax.evaluation.results import KEYS


def _line(method: str, seed: int, accuracy: float | None, **values: Any) -> dict[str, Any]:
  known = {"protocol": "[toys]-9", "ways": 5, "shots": 1, "device": "cpu", "settings": {}}
  known |= {"method": method, "seed": seed, "value": accuracy, "trials": 24}
  known |= {"metric": "accuracy"} if accuracy is not None else {}
  return dict.fromkeys(KEYS) | known | values


def test_means_over_seeds_with_both_intervals(capsys: pytest.CaptureFixture[str]):
  """And the sd over seeds, trials and times; names are data, never markup."""
  interval = {"ci95": 0.2, "ci95_cluster": 0.6}
  paired = {"paired_diff": 0.5, "paired_ci95": 0.1, "paired_ci95_cluster": 0.3}
  edge = {"settings": {"at_edge": ["rate"]}}
  start = {"settings": {"unchanged_start": True}}
  print_table(
    [
      _line("generated", 0, 90.0, **interval),
      _line("ridge", 0, 91.0, **interval, **paired, **edge),
      _line("k1", 0, 91.0, **interval, **paired, **start),
      _line("generated", 1, 92.0, **interval),
      _line("ridge", 0, None, protocol="latency-head", latency_ms=0.0412, batch=1),
    ]
  )
  said = capsys.readouterr().out
  assert "5-way 1-shot on [toys]-9" in said
  rows = [[c.strip() for c in line.split("│")[1:-1]] for line in said.splitlines()]
  assert ["generated", "91.00 ± 0.20", "1.41", "", "24"] in rows
  assert ["ridge", "91.00 ± 0.20", "–", "+0.50 ± 0.10"] in [row[:4] for row in rows]
  assert "24, at" in said
  assert said.count("[± 0.60]") == 3
  assert said.count("[± 0.30]") == 2
  assert "unchanged" in said
  assert ["5-way 1-shot", "ridge", "features", "1", "0.0412"] in rows
