"""Results as Markdown tables, and their place in a page."""

from pathlib import Path
from typing import Any

import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.report import against_tables, read_results, results_tables, write_tables

ROOT = Path(__file__).resolve().parents[2]
MARKS = (
  "<!-- results: python -m launch.table FILE --into PAGE.md -->",
  "<!-- end of results -->",
)


def _line(method: str, seed: int, accuracy: float, **values: Any) -> dict[str, Any]:
  known = {"data": "toys", "protocol": "toys-9", "ways": 5, "shots": 1, "queries": 15}
  known |= {"family": "heads", "metric": None if accuracy is None else "accuracy"}
  return {**known, "method": method, "seed": seed, "value": accuracy, **values}


LINES = [
  _line(
    "generated",
    0,
    90.0,
    ci95=0.5,
    ci95_cluster=1.5,
    settings={"minus_prototypes": [-0.2, 0.1, 0.3]},
  ),
  _line("prototypes", 0, 90.2, ci95=0.4, settings={}),
  _line(
    "generated",
    1,
    92.0,
    ci95=0.7,
    ci95_cluster=1.7,
    settings={"minus_prototypes": [0.3, 0.2, 0.5], "unchanged_start": True},
  ),
  _line("prototypes", 1, 91.7, ci95=0.4, settings={}),
  *(
    _line(method, 0, None, protocol=protocol, latency_ms=ms, batch=batch, device="cpu")
    for method, protocol, batch, ms in [
      ("generated", "latency-head", 1, 2.0),
      ("generated", "latency-head", 256, 51.04),
      ("generated", "latency-public", 1, 3.5),
      ("ridge", "latency-head", 1, 0.0123),
    ]
  ),
]


def test_means_over_seeds_have_both_intervals_and_the_spread():
  found = results_tables(LINES).splitlines()
  assert found[0] == "| toys-9, accuracy in % | 5-way 1-shot |"
  note = "its start, unchanged, in 1 of 2 seeds"
  assert f"| `generated` | 91.00 ± 0.60 [± 1.60]; sd 1.41; {note} |" in found
  assert "| `prototypes` | 90.95 ± 0.40; sd 1.06 |" in found
  assert "| `generated` | +0.05 ± 0.15 [± 0.40]; sd 0.35 |" in found


def test_each_protocol_has_tables_of_its_own():
  rotated = [line | {"protocol": "toys-9-rotated"} for line in LINES[:4]]
  rotated = [line | {"value": line["value"] - 40} for line in rotated]
  found = results_tables([*LINES, *rotated]).split("\n\n")
  for protocol, figures in (("toys-9", "91.00 ± 0.60"), ("toys-9-rotated", "51.00 ± 0.60")):
    (table,) = (t for t in found if t.startswith(f"| {protocol}, accuracy in % |"))
    assert [r.count("generated") for r in table.splitlines()].count(1) == 1
    assert figures in table


def test_every_method_has_its_time():
  assert results_tables(LINES).splitlines()[-4:] == [
    "| 5-way 1-shot on cpu, median ms from | features, 1 task | features, 256 tasks "
    "| images, mcdi_jax.generate, 1 task |",
    "|---|---|---|---|",
    "| `generated` | 2 | 51 | 3.5 |",
    "| `ridge` | 0.0123 | – | – |",
  ]


def test_a_form_that_a_method_lacks_is_a_dash():
  other = _line("generated", 0, 95.0, ci95=0.1) | {"shots": 5}
  assert "| `prototypes` | 90.95 ± 0.40; sd 1.06 | – |" in results_tables([*LINES, other])


def test_many_sets_are_rows_and_numbers_of_shots_columns():
  """Of the methods that are named, with the paired difference from each rival."""
  pairs = {"minus_ridge": [1.0, 0.5, None], "minus_cosine": [-1.0, 0.25, None]}
  lines = [
    *(
      _line(name, 0, value, protocol=place, shots=shots, ci95=0.1, settings=told)
      for place in ("a", "b")
      for shots in (5, 1)
      for name, value, told in (("mine", 51.0, pairs), ("ridge", 50.0, {}))
      if (place, shots) != ("b", 5)
    ),
    LINES[-1],
  ]
  first, pair, times = against_tables(lines, ["mine"], ["ridge"]).split("\n\n")
  assert first.splitlines() == [
    "| accuracy in % | | 1 shot | 5 shots |",
    "|---|---|---|---|",
    "| a, 5 ways | `mine` | 51.00 ± 0.10 | 51.00 ± 0.10 |",
    "| a, 5 ways | `ridge` | 50.00 ± 0.10 | 50.00 ± 0.10 |",
    "| b, 5 ways | `mine` | 51.00 ± 0.10 | – |",
    "| b, 5 ways | `ridge` | 50.00 ± 0.10 | – |",
  ]
  assert pair.splitlines()[2:] == [
    "| a, 5 ways | `mine` | +1.00 ± 0.50 | +1.00 ± 0.50 |",
    "| b, 5 ways | `mine` | +1.00 ± 0.50 | – |",
  ]
  assert "`ridge` | 0.0123" in times
  with pytest.raises(InputError, match="has a difference from nobody: name another"):
    against_tables(lines, ["mine"], ["nobody"])


def test_tables_go_between_the_marks_and_nowhere_else(tmp_path: Path):
  page, results = tmp_path / "page.md", tmp_path / "results.jsonl"
  page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
  files.append_json_lines(files.as_path(results), LINES)
  for _ in range(2):
    write_tables(results, page)
    text = page.read_text()
    assert text.startswith(f"before\n{MARKS[0]}\n\n| toys-9")
    assert text.endswith(f"|\n\n{MARKS[1]}\nafter\n")
    assert "old" not in text


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path):
  page, results = tmp_path / "page.md", tmp_path / "results.jsonl"
  page.write_text("no marks\n")
  with pytest.raises(MissingError, match=r"there is no .*results\.jsonl"):
    write_tables(results, page)
  results.write_text("")
  with pytest.raises(InputError, match="no place for results"):
    write_tables(results, page)
  assert page.read_text() == "no marks\n"
  page.write_bytes(b"\xff\xfe")
  with pytest.raises(InputError, match="no page of text in UTF-8"):
    write_tables(results, page)


def test_a_file_without_results_leaves_a_page_as_it_is(tmp_path: Path):
  """Nor are lines shown that do not hold what they should."""
  page, results = tmp_path / "page.md", tmp_path / "results.jsonl"
  marked = f"{MARKS[0]}\nold\n{MARKS[1]}\n"
  page.write_text(marked)
  for wrong in ("", "{}\n", "# a page\n", '{"value": "3"}\n', "[" * 20_000):
    results.write_text(wrong)
    with pytest.raises(InputError, match="results.jsonl has no results: name the"):
      write_tables(results, page)
    assert page.read_text() == marked
  files.append_json_lines(files.as_path(results), LINES)
  expected = results_tables(read_results(results))
  wrong = ({"value": "3"}, {"latency_ms": "3"}, {"settings": "x"})
  more = [{**LINES[0], **change} for change in wrong]
  files.append_json_lines(files.as_path(results), more)
  assert results_tables(read_results(results)) == expected


@pytest.mark.parametrize(
  ("page", "results"),
  [
    ("docs/omniglot.md", "omniglot.jsonl"),
    ("docs/few_shot.md", "tiny_imagenet.jsonl"),
    ("docs/fields.md", "fields.jsonl"),
    ("docs/networks.md", "networks.jsonl"),
  ],
)
def test_the_pages_have_the_tables_of_the_results(page: str, results: str):
  lines = files.read_json_lines(files.as_path(ROOT / "results" / results))
  assert results_tables(lines) in (ROOT / page).read_text()


_OF_ADAPTERS = [
  *("generated", "generated_finished", "k1", "shuffled_condition", "mean_of_bank"),
  *("renormalised", "descent_10", "whole_descent_10", "prototypes", "ridge_loo"),
]


@pytest.mark.parametrize(
  ("name", "rows", "rivals"),
  [
    (
      "transfer",
      ["generated_delta_finished", "generated_finished", "hypernetwork"],
      ["ridge", "ridge_loo"],
    ),
    ("adapters", _OF_ADAPTERS, ["prototypes", "ridge_loo"]),
  ],
)
def test_the_pages_have_the_tables_against_rivals(
  name: str, rows: list[str], rivals: list[str]
):
  lines = files.read_json_lines(files.as_path(ROOT / "results" / f"{name}.jsonl"))
  tables = against_tables(lines, rows, rivals)
  assert tables in (ROOT / "docs" / f"{name}.md").read_text()
