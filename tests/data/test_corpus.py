"""Documents of several sources, and which of them are nearly the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from mcdi_jax.data.documents import near_duplicates, read_corpus, say_overlaps
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError

RNG = np.random.default_rng(0)


def test_near_duplicates_share_a_tenth_of_their_runs():
  plain = [RNG.integers(0, 500, 200) for _ in range(4)]
  copy = np.concatenate([RNG.integers(0, 500, 100), plain[0][20:120]])
  little = np.concatenate([RNG.integers(0, 500, 180), plain[1][:25]])
  linked = np.concatenate([copy[:90], RNG.integers(0, 500, 60)])
  groups = near_duplicates([*plain, copy, little, linked, np.arange(5)])
  assert groups[0] == groups[4] == groups[6]
  assert len({*groups[[0, 1, 2, 3, 5, 7]]}) == 6


def test_what_queries_share_with_training_and_with_their_support_is_told(
  capsys: pytest.CaptureFixture,
):
  """Of the 25 runs of 40 tokens, 5 are of 20 tokens that a training document has, 10 of 25
  that the support has; validation documents are not training."""
  train, val, support, query = (RNG.integers(0, 10**6, 40) for _ in range(4))
  query[:20] = train[7:27]
  other = np.concatenate([support, support[5:30], query[:15]])
  rows = [train, val, np.concatenate([support, query, train]), np.tile(val, 2), other]
  say_overlaps(rows, np.array([0, 1, 2, 2, 4]), support=40, length=80)
  said = capsys.readouterr().out
  assert "test: of queries' runs of 16 tokens 10.0 % stand in training" in said
  assert "documents, 50.0 % in their own support" in said  # of one none, of one all
  assert "test_unseen_source: of queries' runs of 16 tokens 0.0 % stand" in said
  assert "40.0 % in their own support" in said


def test_documents_are_read_from_lines(tmp_path: Path):
  lines = [
    {"text": "a b", "source": "one", "split": "train"},
    {"text": "c", "source": "two", "split": "test_unseen_source", "name": "x"},
  ]
  place = tmp_path / "docs.jsonl"
  place.write_text("\n".join(map(json.dumps, lines)))
  found = read_corpus(str(place))
  assert found.texts == ("a b", "c") and found.sources == ("one", "two")
  assert found.splits == ("train", "test_unseen_source") and found.name == "docs"
  place.write_text(json.dumps({**lines[0], "split": "dev"}))
  with pytest.raises(InputError, match="the split 'dev': it must be one of"):
    read_corpus(str(place))
  with pytest.raises(MissingError, match=r"give a \.jsonl of documents, or a folder"):
    read_corpus(str(tmp_path / "no.csv"))


def test_a_folder_of_sources_holds_some_out(tmp_path: Path):
  """Every fifth source wholly; of the others every fifth document."""
  for s in "abcde":
    (tmp_path / s).mkdir()
    for n in range(10):
      (tmp_path / s / f"{n}.txt").write_text(f"{s} {n}")
  found = read_corpus(str(tmp_path))
  split = dict(zip(found.texts, found.splits, strict=True))
  assert {split[f"e {n}"] for n in range(10)} == {
    "val_unseen_source", "test_unseen_source",
  }  # fmt: skip
  for s in "abcd":
    own = [split[f"{s} {n}"] for n in range(10)]
    assert own.count("train") == 8 and own.count("val") == own.count("test") == 1
  (tmp_path / "a" / "bad").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(DamagedError, match="is no text in UTF-8"):
    read_corpus(str(tmp_path))
  (tmp_path / "few" / "only").mkdir(parents=True)
  with pytest.raises(InputError, match="at least five sources are needed"):
    read_corpus(str(tmp_path / "few"))
