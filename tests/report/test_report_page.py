"""The page of one run."""

import itertools
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.lib.errors import DamagedError, MissingError
from mcdi_jax.report import write_report

_VOID = {"hr", "img", "meta", "br"}


class Reader(HTMLParser):
  """Checks that elements close in order; keeps ids, references, headings and cells."""

  def __init__(self) -> None:
    super().__init__()
    self.open: list[str] = []
    self.elements: list[tuple[str, dict[str, str | None]]] = []
    self.texts: list[tuple[tuple[str, ...], str]] = []

  def handle_starttag(self, tag: str, attrs: list) -> None:
    self.elements.append((tag, dict(attrs)))
    if tag not in _VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag: str, attrs: list) -> None:
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag: str) -> None:
    assert self.open.pop() == tag

  def handle_data(self, data: str) -> None:
    self.texts.append((tuple(self.open), data))

  @property
  def text(self) -> str:
    """What stands in the body, without the script."""
    return "".join(text for place, text in self.texts if not {"style", "script"} & {*place})

  def values(self, attribute: str) -> list[str]:
    return [a[attribute] for _, a in self.elements if a.get(attribute)]


def read(path: Any) -> Reader:
  reader = Reader()
  reader.feed(Path(path).read_text())
  reader.close()
  assert reader.open == []
  return reader


def headings(page: Reader) -> list[str]:
  return [text for place, text in page.texts if place[-1:] == ("h2",)]


def test_all_sections_in_their_order(make_run: Any, fake: Any):
  path = write_report(make_run(pictures=fake.arrays()))
  assert path.name == "report.html"
  page = read(path)
  assert headings(page) == [
    "Results",
    "Latency",
    "Training",
    "Error along the denoising chain",
    "Inference chains over the task loss",
    "Test tasks",
    "Settings",
    "How to repeat it",
  ]
  levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
  assert levels[0] == 1
  assert levels.count(1) == 1
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_page_needs_nothing_else(make_run: Any, fake: Any):
  """No outside reference; ids are unique and references inside go to one."""
  path = write_report(make_run(pictures=fake.arrays()))
  text = Path(path).read_text()
  assert "http" not in text
  assert "//" not in re.sub(r"base64,[^\"]*", "", text)
  page = read(path)
  ids = page.values("id")
  assert len(ids) == len(set(ids)) > 20
  assert all(source.startswith("data:image/") for source in page.values("src"))
  inner = [h[1:] for h in page.values("href")] + re.findall(r"url\(#([^)]+)\)", text)
  assert inner
  assert set(inner) <= set(ids)
  assert set(page.values("aria-labelledby")) <= set(ids)
  assert len(text) < 3_000_000


def test_it_is_the_same_every_time(make_run: Any, fake: Any):
  place = make_run(pictures=fake.arrays())
  first = write_report(place).read_bytes()
  assert write_report(place).read_bytes() == first


def test_every_figure_of_the_results_is_in_the_tables(make_run: Any, fake: Any):
  page = read(write_report(make_run()))
  cells = {text for place, text in page.texts if "tbody" in place}
  for line in fake.results[:4]:
    assert f"{line['value']:.2f} ± 0.21" in cells
  assert {"−0.23 ± 0.06 (below)", "+0.07 ± 0.08 (level)", "+0.63 ± 0.11 (above)"} <= cells
  assert {"94,313", "18.9", "58.70", "256", "27 %", "no"} <= cells


def test_text_is_escaped(make_run: Any):
  path = write_report(make_run())
  text = Path(path).read_text()
  assert "tuned<" not in text
  assert "<b>&" not in text
  page = read(path)
  assert "tuned<&>" in page.text
  assert '"<b>&\\"bold\\"</b>"' in page.text  # the setting, as JSON


def test_the_words_follow_the_intervals(make_run: Any):
  """`generated` is above what is below it: the difference is turned round."""
  said = read(write_report(make_run())).text
  assert "generated 96.71 ± 0.21 % in 5-way 1-shot on glyphs-200: " in said
  assert "above prototypes (difference +0.23 ± 0.06)" in said
  assert "level with finetune (difference −0.07 ± 0.08)" in said
  assert "below tuned<&> (difference −0.63 ± 0.11)" in said


def test_several_seeds(make_run: Any, fake: Any):
  """The mean with the mean interval; the sd apart; each seed's difference."""
  results = [
    fake.accuracy_line("generated", a, seed=s, ci95=0.2 + s / 10)
    for s, a in enumerate([96.0, 97.0, 98.0])
  ] + [
    fake.accuracy_line("prototypes", 97.0, seed=s, paired_diff=d, paired_ci95=0.3)
    for s, d in enumerate([0.1, 0.4, -0.2])
  ]
  page = read(write_report(make_run(results=results)))
  cells = [text for place, text in page.texts if "tbody" in place]
  assert "97.00 ± 0.30" in cells
  assert "1.00" in cells
  for text in ("seed 0: +0.10 ± 0.30 (level)", "seed 1: +0.40 ± 0.30 (above)"):
    assert text in cells
  words = "level with prototypes in 2 of 3 seeds, below in 1 (mean difference −0.10 ± 0.30)"
  assert words in page.text


def test_claims_about_unseen_classes_go_by_the_interval_over_classes(
  make_run: Any, fake: Any
):
  """A difference that is sure for these classes may be none for others."""
  clustered = {"ci95_cluster": 0.6, "paired_ci95": 0.1}
  results = [
    fake.accuracy_line("generated", 97.0, ci95_cluster=0.6),
    fake.accuracy_line("k1", 96.8, paired_diff=-0.2, paired_ci95_cluster=0.3, **clustered),
    fake.accuracy_line(
      "ridge", 97.5, paired_diff=0.5, paired_ci95_cluster=0.3, **clustered
    ),
  ]
  page = read(write_report(make_run(results=results)))
  cells = {text for place, text in page.texts if "tbody" in place}
  assert "97.00 ± 0.21 [± 0.60]" in cells
  assert "−0.20 ± 0.10 [± 0.30] (level)" in cells
  assert "+0.50 ± 0.10 [± 0.30] (above)" in cells
  assert "level with k1 (difference +0.20 ± 0.10 [± 0.30])" in page.text
  assert "below ridge (difference −0.50 ± 0.10 [± 0.30])" in page.text


def test_trials_edges_and_unchanged_starts_are_told(make_run: Any, fake: Any):
  chosen = {"at_edge": ["rate", "steps"], "unchanged_start": True}
  results = [
    fake.accuracy_line("generated", 97.0, trials=8),
    fake.accuracy_line("generated_finished", 97.0, trials=24, settings=chosen),
  ]
  page = read(write_report(make_run(results=results)))
  cells = {text for place, text in page.texts if "tbody" in place}
  assert {"8", "24 (at an edge: rate, steps)"} <= cells
  assert "generated_finished (its start, unchanged)" in page.text


def test_every_methods_latency_is_shown(make_run: Any, fake: Any):
  lines = [
    fake.accuracy_line(name, None, protocol=protocol, latency_ms=ms, batch=1)
    for name, protocol, ms in [
      ("generated", "latency-head", 0.71),
      ("generated", "latency-public", 0.93),
      ("ridge", "latency-head", 0.04),
    ]
  ]
  page = read(write_report(make_run(results=lines)))
  cells = [text for place, text in page.texts if "tbody" in place]
  for shown in ("ridge", "0.71", "0.93", "0.04", "images, mcdi_jax.generate"):
    assert shown in cells
  assert "of matmul peak" not in page.text


def test_many_forms_are_counted(make_run: Any, fake: Any):
  results = [line | {"shots": shots} for shots in (1, 2, 5) for line in fake.results[:2]]
  said = read(write_report(make_run(results=results))).text
  assert (
    "generated against prototypes, in 3 lists of test tasks and seeds: above it in 3"
    in said
  )


def test_a_line_that_was_written_again_replaces_the_first(make_run: Any, fake: Any):
  results = [*fake.results, fake.accuracy_line("generated", 91.11)]
  said = read(write_report(make_run(results=results))).text
  assert "91.11" in said
  assert "96.71" not in said


def test_wrong_predictions_are_marked(make_run: Any, fake: Any):
  """By words, not by colour alone: 1 of the 30 queries."""
  page = read(write_report(make_run(pictures=fake.arrays())))
  assert "classify 29 of 30 queries" in page.text
  wrong = [a for _, a in page.elements if a.get("class") == "picture wrong"]
  assert len(wrong) == 1
  assert [t for p, t in page.texts if t.startswith("✗")] == ["✗ as 3"]
  texts = page.values("alt")
  assert texts.count("query of class 2, wrongly taken for 3") == 1
  assert len([text for text in texts if text.endswith("rightly classified")]) == 29
  assert len([text for text in texts if text.startswith("support")]) == 10


def test_large_pictures_are_left_out_beyond_the_limit(make_run: Any, fake: Any):
  rng = np.random.default_rng(0)
  large = {
    "example_support": rng.integers(0, 255, (3, 5, 5, 84, 84, 3), np.uint8),
    "example_query": rng.integers(0, 255, (3, 5, 15, 84, 84, 3), np.uint8),
    "example_predicted": np.tile(np.arange(5)[:, None], (3, 1, 15)),
  }
  path = write_report(make_run(pictures=large))
  assert path.stat().length < 3_000_000
  assert "Tasks left out for the size of the page: " in read(path).text


def test_one_segment_hands_nothing_over(make_run: Any, fake: Any):
  said = read(write_report(make_run(pictures=fake.arrays(segments=1)))).text
  assert "There is one segment" in said
  assert "Hand-over gap" not in said


@pytest.mark.parametrize("value", [0.0, 0.5, np.nan])
def test_a_flat_loss_is_no_obstacle(make_run: Any, fake: Any, value: float):
  pictures = {n: a for n, a in fake.arrays().items() if n.startswith("plane")}
  pictures["plane_loss"] = np.full_like(pictures["plane_loss"], value)
  page = read(write_report(make_run(metrics=None, pictures=pictures)))
  assert "Inference chains over the task loss" in headings(page)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e37, 1e9])
@pytest.mark.parametrize("name", ["plane_chains", "plane_x", "chain_error_test"])
def test_what_went_astray_is_left_out_with_a_sentence(
  make_run: Any, fake: Any, name: str, value: float
):
  """Also where it is finite: a figure of size NaN is no figure."""
  pictures = fake.arrays()
  pictures[name] = np.array(pictures[name], np.float64)
  pictures[name].flat[-1] = value
  page = read(write_report(make_run(pictures=pictures)))
  assert f"{name} is not of a size to be drawn" in page.text
  assert "Test tasks" in headings(page)
  plane = "Inference chains over the task loss" in headings(page)
  assert plane == (not name.startswith("plane"))


def test_a_run_that_has_only_begun(make_run: Any):
  page = read(write_report(make_run(results=None, metrics=None)))
  assert headings(page) == ["Settings", "How to repeat it"]
  assert "no figure of its generated weights yet" in page.text
  for name in ("results.jsonl", "metrics.jsonl", "pictures.safetensors"):
    assert f"There is no {name}" in page.text
  assert "glyphs: 5-way 1-shot" in page.text


def test_some_pictures_are_missing(make_run: Any, fake: Any):
  pictures = {n: a for n, a in fake.arrays().items() if n != "plane_loss"}
  page = read(write_report(make_run(pictures=pictures)))
  assert "pictures.safetensors lacks plane_loss" in page.text
  assert "Error along the denoising chain" in headings(page)
  assert "Inference chains over the task loss" not in headings(page)


def test_damaged_files_leave_gaps(make_run: Any, fake: Any):
  place = make_run()
  with (place / "results.jsonl").open("a") as f:
    f.write('{"method": "gen')
  (place / "metrics.jsonl").write_bytes(b"[1]\n\xff\n\n")
  (place / "pictures.safetensors").write_bytes(b"no tensors")
  page = read(write_report(place))
  assert "1 damaged line(s) of results.jsonl" in page.text
  assert "2 damaged line(s) of metrics.jsonl" in page.text
  assert "pictures.safetensors is damaged" in page.text
  assert "Results" in headings(page)
  assert "Training" not in headings(page)


def test_nulls_are_no_obstacle(make_run: Any, fake: Any):
  """A line of nulls, and metrics of nulls."""
  keys = fake.results[0].keys()
  results = [dict.fromkeys(keys) | {"value": 50.0, "method": "generated"}]
  results += [{"value": "x"}, {"latency_ms": "x"}]
  metrics = [
    {"phase": "generated", "seed": 0, "step": 1, "loss_1": None, "val_5w1s": None},
    {"phase": None, "step": None},
  ]
  page = read(write_report(make_run(results=results, metrics=metrics)))
  assert "50.00" in page.text
  assert "Training" not in headings(page)


def test_a_loss_is_called_what_it_is(make_run: Any):
  """Of segments, or, of what was trained through the whole chain, on queries."""
  line = {"seed": 0, "loss": 1.0}
  metrics = [
    {**line, "phase": phase, "step": step, **more}
    for phase, more in (("generated", {"loss_1": 1.0}), ("generated_finished", {}))
    for step in (1, 2)
  ]
  said = read(write_report(make_run(metrics=metrics))).text
  assert "Loss of generated in each segment of the denoising chain." in said
  assert "Loss of generated_finished on the queries of its training tasks." in said


def test_how_to_repeat_it(make_run: Any):
  place = make_run("a run")
  said = read(write_report(place)).text
  assert "git checkout c0ffee\n" in said
  assert "pip install jax==0.10.2\n" in said
  again = f"python -m launch.run --config '{place}/config.json' --workdir '{place}-again'"
  assert again in said
  assert "files differed from it" in said


@pytest.mark.parametrize("name", ["$(touch x)", "a'b", "a;b & c", "[/v]", "a\nb"])
def test_commands_quote_what_they_hold(make_run: Any, fake: Any, name: str):
  """Whatever a workdir or a commit is called, the shell gets it as one word."""
  commit = f"c0ffee {name}"
  results = [fake.accuracy_line("generated", 90.0, commit=commit)]
  place = make_run(name.replace("/", "-"), results=results)
  page = read(write_report(place))
  (block,) = [text for where, text in page.texts if "pre" in where]
  words = shlex.split(block)
  assert words[:3] == ["git", "checkout", commit]
  expected = ["--config", f"{place}/config.json", "--workdir", f"{place}-again"]
  assert words[-4:] == expected


def test_where_there_is_no_run(tmp_path: Path, make_run: Any):
  with pytest.raises(MissingError, match=f"there is no run in {tmp_path}: "):
    write_report(tmp_path)
  assert not (tmp_path / "report.html").exists()
  place = make_run()
  for content, said in (
    ("{", "is damaged, .* put the whole one"),
    ('{"data": 3}', "holds a int"),
  ):
    (place / "config.json").write_text(content)
    with pytest.raises(DamagedError, match=f"config.json {said}"):
      write_report(place)
