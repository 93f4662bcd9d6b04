"""Several runs on one page, and the command."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.report import write_comparison

ROOT = Path(__file__).resolve().parents[2]


def _config(fake: Any, **data: Any) -> dict:
  config = copy.deepcopy(fake.config)
  config["data"] |= data
  return config


def _results(fake: Any, accuracy: float, **values: Any) -> list[dict]:
  return [fake.accuracy_line("generated", accuracy, **values)]


def _text(path: Any) -> str:
  return Path(path).read_text()


def test_runs_on_the_same_test_tasks_share_a_table(
  make_run: Any, fake: Any, tmp_path: Path
):
  """The interval of the difference is that of two independent means: √2 · 0.21."""
  config = copy.deepcopy(fake.config)
  config["meta"]["steps"] = 700
  a = make_run("a", results=_results(fake, 96.0))
  b = make_run("b", results=_results(fake, 97.0), config=config)
  text = _text(write_comparison([a, b], tmp_path / "both.html"))
  assert text.count("<table") == 2  # accuracies, settings
  assert "+1.00 ± 0.30 (above)" in text
  assert "Not all of these runs were tested on the same tasks" not in text
  assert "config.meta.steps" in text
  assert "(not there)" in text
  assert "config.meta.ways" not in text  # the same in both
  assert "http" not in text


@pytest.mark.parametrize(
  ("values", "data", "named"),
  [
    ({"eval_seed": 7}, {}, "eval_seed"),
    ({"tasks": 400}, {}, "tasks"),
    ({}, {"split_seed": 9}, "data.split_seed"),
    ({"data": "birds"}, {"path": "birds.npz"}, "data.path"),
  ],
)
def test_figures_on_other_test_tasks_are_not_paired(
  make_run: Any, fake: Any, tmp_path: Path, values: dict, data: dict, named: str
):
  config = _config(fake, **data)
  config["evaluation"] |= {k: v for k, v in values.items() if k != "data"}
  a = make_run("a", results=_results(fake, 96.0))
  b = make_run("b", results=_results(fake, 97.0, **values), config=config)
  text = _text(write_comparison([a, b], tmp_path / "both.html"))
  assert "Not all of these runs were tested on the same tasks (config." in text
  assert f"{named} differ" in text
  assert text.count("generated − first run") == 2  # a table each
  assert "+1.00" not in text
  assert "(above)" not in text


@pytest.mark.parametrize("same", [True, False])
def test_the_same_data_from_another_source_is_the_same_data(
  make_run: Any, fake: Any, tmp_path: Path, same: bool
):
  """Told by the digest of its content, where a run has written it."""
  a = make_run("a", results=_results(fake, 96.0))
  other = _config(fake, source="npz", path="birds.npz")
  b = make_run("b", results=_results(fake, 97.0), config=other)
  for run, content in ((a, "1"), (b, "1" if same else "2")):
    (Path(run) / "data.json").write_text(json.dumps({"content": content}))
  text = _text(write_comparison([a, b], tmp_path / "both.html"))
  assert ("Not all of these runs" in text) is not same
  assert ("+1.00" in text) is same


def test_a_run_without_results_is_no_reason_to_refuse(
  make_run: Any, fake: Any, tmp_path: Path
):
  runs = [make_run("a"), make_run("b"), make_run("c", results=None)]
  text = _text(write_comparison(runs, tmp_path / "all.html"))
  assert "Not all of these runs" not in text
  assert "c: There is no results.jsonl yet." in text
  assert "0.00 ± 0.30 (level)" in text


def test_claims_go_by_the_interval_over_classes(make_run: Any, fake: Any, tmp_path: Path):
  """That of two independent means: √2 · 0.8 > 1."""
  a = make_run("a", results=_results(fake, 96.0, ci95_cluster=0.8))
  b = make_run("b", results=_results(fake, 97.0, ci95_cluster=0.8))
  text = _text(write_comparison([a, b], tmp_path / "both.html"))
  assert "96.00 ± 0.21 [± 0.80]" in text
  assert "+1.00 ± 0.30 [± 1.13] (level)" in text


def test_validation_curves_are_overlaid(make_run: Any, tmp_path: Path):
  runs = [make_run("first"), make_run("second")]
  text = _text(write_comparison(runs, tmp_path / "all.html"))
  assert text.count("<svg") == 1
  for name in ("first", "second"):
    assert f">{name}</text>" in text


def test_names_that_are_equal_are_given_in_full(make_run: Any, tmp_path: Path):
  (tmp_path / "x").mkdir()
  (tmp_path / "y").mkdir()
  runs = [make_run("x/run"), make_run("y/run")]
  text = _text(write_comparison(runs, tmp_path / "all.html"))
  assert f"{tmp_path}/x/run" in text


def test_what_cannot_be_compared(make_run: Any, tmp_path: Path):
  a = make_run("a")
  with pytest.raises(InputError, match="needs two different ones"):
    write_comparison([a, f"{a}/"], tmp_path / "page.html")
  with pytest.raises(InputError, match="needs two different ones"):
    write_comparison([a], tmp_path / "page.html")
  with pytest.raises(MissingError, match="there is no run in "):
    write_comparison([a, tmp_path / "none"], tmp_path / "page.html")
  assert not (tmp_path / "page.html").exists()
  config = (a / "config.json").read_bytes()
  with pytest.raises(InputError, match="config.json is a file of another kind"):
    write_comparison([a, make_run("b")], a / "config.json")
  assert (a / "config.json").read_bytes() == config


def _command(*arguments: Any) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "launch.report", *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_command(make_run: Any, tmp_path: Path):
  """One workdir, several, and none."""
  a, b = make_run("a"), make_run("b")
  found = _command(a)
  assert (found.returncode, found.stdout) == (0, f"{a}/report.html\n"), found.stderr
  assert (a / "report.html").exists()
  out = tmp_path / "c.html"
  found = _command(a, b, "--out", out)
  assert (found.returncode, found.stdout) == (0, f"{out}\n"), found.stderr
  found = _command(tmp_path / "none")
  assert found.returncode == 1
  assert found.stderr.startswith(f"error: there is no run in {tmp_path}/none: ")
  assert len(found.stderr.splitlines()) == 1
