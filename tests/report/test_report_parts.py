"""Curves, figures, numbers in words, and the little language of elements."""

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import InputError
from mcdi_jax.report.figure import label_ends, line_figure, new_axes, scatter_figure, thin
from mcdi_jax.report.figures import Row, TaskList, standing, with_interval
from mcdi_jax.report.markup import Html, join, page, tag
from mcdi_jax.report.steps import steps_section, steps_series
from mcdi_jax.report.trade import best_trades, trade_section, trades, write_trades
from mcdi_jax.report.workdir import curve, flat

ROOT = Path(__file__).parents[2]


def test_a_continued_training_has_each_step_once():
  """The later line of a step stands, and steps are in order."""
  lines = [
    {"phase": "generated", "seed": 0, "step": step, "loss": loss}
    for step, loss in [
      (50, 3.0),
      (100, 2.0),
      (150, 1.0),
      (100, 2.5),
      (150, 1.5),
      (200, 0.5),
    ]
  ]
  lines.append({"phase": "generated", "seed": 0, "step": 100, "val_5w1s": 90.0})
  found = curve(lines, "loss", "generated", 0)
  assert found == [(50, 3.0), (100, 2.5), (150, 1.5), (200, 0.5)]
  assert curve(lines, "val_5w1s", "generated", 0) == [(100, 90.0)]


def test_a_curve_is_of_one_training():
  lines = [
    {"phase": "generated", "seed": 0, "step": 1, "loss": 1.0},
    {"phase": "generated", "seed": 1, "step": 1, "loss": 2.0},
    {"phase": "backbone", "step": 1, "loss": 3.0},
    {"phase": "backbone", "step": 2, "loss": None},
    {"phase": "backbone", "step": 3, "loss": float("nan")},
  ]
  assert curve(lines, "loss", "generated", 1) == [(1, 2.0)]
  assert curve(lines, "loss", "backbone") == [(1, 3.0)]


def test_a_later_null_takes_the_place_of_a_value():
  lines = [{"phase": "backbone", "step": 1, "loss": x} for x in (2.0, None)]
  assert curve(lines, "loss", "backbone") == []


def test_thinning_keeps_the_last_point():
  points = [(step, float(step)) for step in range(1, 1002)]
  found = thin(points)
  assert len(found) <= 400
  assert found[-1] == points[-1]
  assert thin(points[:400]) == points[:400]


@pytest.mark.parametrize(
  "values", [[0.5] * 12, [0.0, 1.0, 1.0, 1.0], [0.1, 0.11, 0.9], [1.0]]
)
def test_labels_do_not_overlap(values: list[float]):
  axes = new_axes()
  axes.set_ylim(0, 1)
  ends = {f"line {i}": value for i, value in enumerate(values)}
  label_ends(axes, ends)
  heights = sorted(text.xy[1] for text in axes.texts)
  assert len(heights) == len(values)
  assert np.all(np.diff(heights) >= 0.074)
  assert heights[-1] <= 1
  assert heights[0] > -0.1


def test_lines_are_named():
  """At their ends, or in a key where names are long; one without a name needs none."""
  points = [(1, 1.0), (2, 2.0)]
  short = line_figure("a", "t", "c", [("one", points), ("two", points)])
  long = line_figure("b", "t", "c", [("a run with a long name", points), ("two", points)])
  for name in ("one", "two"):
    assert f">{name}</text>" in short
  for name in ("a run with a long name", "two"):
    assert f">{name}</text>" in long
  assert line_figure("c", "t", "c", [("one", [])]) is None


@pytest.mark.parametrize("names", [("$a$", "b$x^{"), ("$\\frac$ of a long name", "\\$")])
def test_dollars_in_labels_are_dollars(names: tuple[str, str]):
  """Beside the lines and in a key; what looks like a formula is no formula."""
  figure = line_figure(
    "c", "t", "c", [(name, [(1, 1.0), (2, 2.0)]) for name in names], x=names[0], y="$y$"
  )
  texts = [html.unescape(t) for t in re.findall(r"<text[^>]*>([^<]*)</text>", figure)]
  assert {*names, "$y$"} <= set(texts)


def test_a_figure_has_a_title_and_ids_of_its_own():
  figure = line_figure("mine", "what it <shows>", "words", [("", [(1, 1.0)])])
  assert isinstance(figure, Html)
  assert '<title id="mine-title">what it &lt;shows&gt;</title>' in figure
  assert 'role="img" aria-labelledby="mine-title"' in figure
  assert all(name.startswith("mine-") for name in re.findall(r' id="([^"]*)"', figure))
  assert "xmlns" not in figure
  assert "<metadata" not in figure


@pytest.mark.parametrize(
  ("difference", "interval", "word"),
  [
    (0.2, 0.1, "above"),
    (-0.2, 0.1, "below"),
    (0.1, 0.1, "level with"),
    (-0.05, 0.1, "level with"),
    (0.0, 0.0, "level with"),
  ],
)
def test_above_and_below_need_an_interval_without_zero(
  difference: float, interval: float, word: str
):
  assert standing(difference, interval) == word


@pytest.mark.parametrize(
  ("value", "interval", "sign", "text"),
  [
    (98.634, 0.056, "", "98.63 ± 0.06"),
    (0.2, 0.03, "+", "+0.20 ± 0.03"),
    (-0.2, 0.03, "+", "−0.20 ± 0.03"),
    (-0.0005, 0.018, "+", "0.00 ± 0.02"),
    (0.00453, 0.0044, "+", "+0.005 ± 0.004"),
    (50.0, None, "", "50.00"),
    (50.0, 0.0, "", "50.00 ± 0.00"),
    (None, None, "", "–"),
  ],
)
def test_numbers(value: float | None, interval: float | None, sign: str, text: str):
  assert with_interval(value, interval, sign) == text


def test_elements_escape_all_but_markup():
  found = tag("a", "<&>", tag("b", '"'), None, 3, class_='x"y', title=None, hidden=True)
  assert found == '<a class="x&quot;y" hidden>&lt;&amp;&gt;<b>&quot;</b>3</a>'
  assert join(["<", Html("<br>")], "; ") == "&lt;; <br>"
  assert "<title>&lt;t&gt;</title>" in page("<t>")


def test_dotted_names():
  assert flat({"b": {"c": 1, "a": {"d": [2]}}, "a": None}) == {
    "config.a": None,
    "config.b.a.d": [2],
    "config.b.c": 1,
  }


def test_each_seed_has_a_curve_of_its_own():
  """And each phase; of a step that was logged twice the later line stands."""
  rows = [("a", 5, 1, 0.5), ("a", 6, 1, 0.7), ("b", 5, 1, 0.9), ("a", 5, 2, 0.3)]
  rows += [("a", 6, 2, 0.1), ("a", 5, 1, 0.4)]
  names = ("phase", "seed", "step", "loss")
  lines = [dict(zip(names, row, strict=True)) for row in rows]
  assert curve(lines, "loss", "a", 5) == [(1, 0.4), (2, 0.3)]
  assert curve(lines, "loss", "a", 6) == [(1, 0.7), (2, 0.1)]
  assert curve(lines, "loss", "b", 5) == [(1, 0.9)]


def test_steps_are_lines_by_their_start():
  """Of starts with several numbers of steps; the mean over seeds, in the order of steps."""

  def row(method: str, values: list[float], **settings: Any) -> tuple[str, Row]:
    lines = [{"value": value, "settings": settings} for value in values]
    return method, Row(method, lines)

  rows = dict(
    [
      row("generated", [98.0, 99.0], T=20),
      row("refined_init_5", [92.0, 94.0], start="init", steps=5),
      row("refined_init_1", [90.0, 91.0], start="init", steps=1),
      row("refined_ridge_1", [90.0], start="ridge", steps=1),
      row("descent_10", [70.0], steps=10, rate=0.1),
      row("descent_2", [60.0], steps=2, rate=0.1),
      row("finetune", [50.0], steps=10),
    ]
  )
  assert steps_series(rows) == [
    ("from init", [(1, 90.5), (5, 93.0)]),
    ("adam", [(2, 60.0), (10, 70.0)]),
  ]
  tasks = TaskList("heads", "accuracy", "toys", "toys-5", 5, 1, 15, 100, 1)
  drawn = str(steps_section({tasks: rows}))
  assert "from init" in drawn and "generated" in drawn and "from ridge" not in drawn
  assert steps_section({tasks: {"generated": rows["generated"]}}) is None


def test_quality_and_time_are_joined_by_form():
  """One task, from features; methods that either is unknown of are left out."""
  tasks = TaskList("features", "accuracy", "toys", "toys-5", 5, 1, 15, 100, 1)
  rows = {n: Row(n, [{"value": v}]) for n, v in {"a": 70.0, "b": 60.0, "c": 75.0}.items()}

  def timed(method: str, ms: float, ways: int = 5, batch: int = 1, **line: Any) -> Any:
    known = {"ways": ways, "shots": 1, "protocol": "latency-head", "batch": batch}
    return {"method": method, "latency_ms": ms, **known, **line}

  lines = [
    timed("a", 2.0),
    timed("b", 0.5),
    timed("c", 9.0, ways=10),
    timed("d", 1.0),
    timed("a", 8.0, batch=256),
    timed("a", 3.0, protocol="latency-public"),
  ]
  found = trades(tasks, rows, lines)
  assert found == {"a": (2.0, 70.0), "b": (0.5, 60.0)}
  assert trade_section({tasks: rows}, lines[1:2]) is None
  drawn = str(trade_section({tasks: rows}, lines))
  assert drawn.count("<figure") == 1 and "ms for one task" in drawn


def test_quality_and_time_as_a_file(tmp_path: Path):
  """A panel for each list of tasks, four in the results that ship."""
  lines = files.read_json_lines(files.as_path(ROOT / "results/documents.jsonl"))
  write_trades(lines, tmp_path / "both.svg")
  drawn = (tmp_path / "both.svg").read_text()
  for sources in ("seen", "unseen"):
    for view in ("", "-in-view"):
      assert drawn.count(f">documents on documents-{sources}-sources{view}<") == 1
  assert drawn.count(">descent_30<") == 1  # one legend for all


def test_names_in_a_file_are_no_formulas(tmp_path: Path):
  tasks = {"ways": 5, "shots": 1, "protocol": "a$\\frac$b", "metric": "accuracy"}
  lines: list[dict[str, Any]] = []
  for name in ("generated", "ridge"):
    lines += [{"method": name, "value": 1.0, **tasks}]
    timed = {"protocol": "latency-head", "batch": 1, "latency_ms": 2.0}
    lines += [{"method": name, **tasks, **timed}]
  write_trades(lines, tmp_path / "odd.svg")
  assert "a$\\frac$b" in (tmp_path / "odd.svg").read_text()


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("both.txt", r"name a file \.svg, \.png, \.pdf"),
    ("both.png", "no two methods"),
  ],
)
def test_what_cannot_be_drawn_is_said(name: str, said: str, tmp_path: Path):
  with pytest.raises(InputError, match=said):
    write_trades([{"method": "a", "value": 1.0}], tmp_path / name)


def test_the_best_trades_are_faster_or_better_than_all_others():
  points = {
    "slow": (9.0, 80.0),
    "fast": (1.0, 60.0),
    "worse": (2.0, 55.0),
    "mid": (3.0, 70),
  }
  assert best_trades(points) == ["fast", "mid", "slow"]


@pytest.mark.parametrize("most", [0.4, 3.0, 500.0])
def test_a_logarithmic_axis_has_plain_numbers(most: float):
  """Within a decade, too, where matplotlib writes numbers between them as mathematics."""
  points = {"one": (0.3, 50.0), "two": (most, 60.0)}
  drawing = scatter_figure("a", "t", "c", points, ["one", "two"], x="ms", y="accuracy")
  assert "mathdefault" not in drawing
  labels = re.findall(r">([\d.]+)</text>", drawing)
  assert {*map(float, labels)} & {0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 200.0, 500.0}
