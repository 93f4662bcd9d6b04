"""Texts of classes: read, embedded, and labelled by generated weights."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from mcdi_jax.data import DataConfig
from mcdi_jax.data.texts import read_labelled_texts, read_texts
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.pipeline import generate_from_folder, predict
from mcdi_jax.pipeline.embed import embed_set, embed_texts
from mcdi_jax.pipeline.embedding import Embedder, open_encoder
from mcdi_jax.pipeline.own_features import EncoderFlags
from tests.checkpoints import write_bert

LINES = [
  {"text": "one two", "label": "few", "domain": "a"},
  {"text": "three four three", "label": "more", "domain": "b"},
  {"text": "one one two", "label": "few", "domain": "b"},
  {"text": "four four", "label": "more", "domain": "a"},
]


def _written(place: Path, lines: list[dict]) -> str:
  text = "\n".join(json.dumps(line) for line in lines) + "\n\n"
  content = text.encode()
  place.write_bytes(lzma.compress(content) if place.suffix == ".xz" else content)
  return str(place)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.xz"])
def test_labelled_texts_are_read(tmp_path: Path, ending: str):
  lines = [{**x, "class_split": "test" if x["label"] == "few" else "train"} for x in LINES]
  found = read_labelled_texts(_written(tmp_path / f"t.{ending}", lines), setting="--data")
  assert found.texts == tuple(line["text"] for line in LINES)
  assert (found.classes, found.name) == (("few", "more"), "t")
  np.testing.assert_array_equal(found.labels, [0, 1, 0, 1])
  np.testing.assert_array_equal(found.split, [2, 0])
  np.testing.assert_array_equal(found.domain, list("abba"))
  numbers = [{"text": "one", "label": n} for n in (10, 9)]
  found = read_labelled_texts(_written(tmp_path / f"n.{ending}", numbers), setting="--data")
  assert found.classes == ("9", "10") and found.split is None and found.domain is None


def test_a_line_ends_where_a_file_has_an_end_of_line(tmp_path: Path):
  """JSON and texts may hold all else that Unicode calls one."""
  text = "a\u2028b\x85c\x0cd"
  line = json.dumps({"text": text, "label": 1}, ensure_ascii=False)
  for end in ("\n", "\r\n"):
    place = tmp_path / "t.jsonl"
    place.write_bytes(end.join([line, line]).encode())
    assert read_labelled_texts(place, setting="--data").texts == (text, text)
    (tmp_path / "t.txt").write_bytes(f"{text}{end}{text}".encode())
    assert read_texts(tmp_path / "t.txt", setting="--texts") == (text, text)


def test_texts_are_embedded_and_labelled(tmp_path: Path):
  """A file of their features is one like any other; what is generated from texts labels
  texts, which stand for themselves in the answers."""
  checkpoint, out = write_bert(tmp_path / "encoder"), tmp_path / "f.npz"
  embedding = open_encoder("bert", checkpoint)
  support = _written(tmp_path / "t.jsonl", LINES)
  assert embed_texts(support, out, embedding) == (4, 8)
  found = np.load(out)
  texts = [line["text"] for line in LINES]
  np.testing.assert_allclose(found["features"], Embedder(embedding)(texts), atol=1e-6)
  np.testing.assert_array_equal(found["domain"], list("abba"))
  assert str(found["encoder"]) == embedding.name
  weights, flags = tmp_path / "w", EncoderFlags("bert", str(checkpoint))
  made = generate_from_folder("any-features", support, weights, encoder=flags)
  assert made["embedded_by"] == embedding.name and made["classes"] == ["few", "more"]
  (tmp_path / "new.txt").write_text("\n".join(["one two", "", "three four three"]))
  answers = predict(weights, tmp_path / "new.txt")
  assert answers.files == ("one two", "three four three")
  assert answers.probabilities.argmax(1).tolist() == [0, 1]
  same = predict(weights, _written(tmp_path / "new.jsonl", [LINES[0], LINES[1]]))
  np.testing.assert_array_equal(same.probabilities, answers.probabilities)
  by_file = generate_from_folder("any-features", out, tmp_path / "w2")
  assert by_file["fingerprint"] == made["fingerprint"]
  np.testing.assert_allclose(
    predict(tmp_path / "w2", out).probabilities[:2], answers.probabilities, atol=1e-4
  )
  kept = out.read_bytes()
  other = embedding._replace(name="another@1")
  with pytest.raises(InputError, match=f"holds features of {embedding.name}, and not of"):
    embed_texts(support, out, other)
  assert out.read_bytes() == kept
  images = DataConfig(source="npz", path=str(tmp_path / "images.npz"))
  with pytest.raises(InputError, match=r"--encoder reads texts, and .* holds images"):
    embed_set(images, tmp_path / "g.npz", embedding)
  with pytest.raises(InputError, match="holds texts, and this generator takes features"):
    generate_from_folder("any-features", support, tmp_path / "w3")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"\xff\xfe\x00\x01", "is no text: give one in UTF-8"),
    (b"\n \n", "is empty: give lines with a 'text' and a 'label'"),
    (b'{"text": "a", "label": 1}\n[1]', "line 2 of .* is no JSON object"),
    (b'{"text": "a", "label": 1}\n{"text": " ", "label": 1}', "line 2 of .* no 'text'"),
    (b'{"text": "a"}', "line 1 of .* has no 'label'"),
    (b'{"text": "a", "label": 1, "class_split": "dev"}', "class_split 'dev': it must be"),
    (
      b'{"text": "a", "label": 1, "class_split": "val"}\n'
      b'{"text": "b", "label": 1, "class_split": "test"}',
      "class_split of '1' in .* is 'val' and, in line 2, 'test'",
    ),
    (
      b'{"text": "a", "label": 1, "domain": "x"}\n{"text": "b", "label": 1}',
      "line 2 of .* has no 'domain'",
    ),
    (b'{"text": "a\\ud800b", "label": 1}', "'text' in line 1 of .* has half a character"),
    (b"[" * 20_000, "line 1 of .* is no JSON object"),
    (b'{"text": ' + 5_000 * b"9" + b"}", "line 1 of .* is no JSON object"),
  ],
)
def test_bad_lines_are_told(tmp_path: Path, content: bytes, message: str):
  place = tmp_path / "t.jsonl"
  place.write_bytes(content)
  with pytest.raises((InputError, DamagedError), match=message):
    read_labelled_texts(place, setting="--data")


def test_what_is_no_file_of_texts_is_told(tmp_path: Path):
  with pytest.raises(MissingError, match="where there is no file"):
    read_texts(tmp_path / "no.txt", setting="--texts")
  (tmp_path / "t.txt").write_text("\n  \n")
  with pytest.raises(InputError, match="has no text: there is nothing to label"):
    read_texts(tmp_path / "t.txt", setting="--texts")
  with pytest.raises(InputError, match="has texts without labels"):
    read_labelled_texts(tmp_path / "t.txt", setting="--support")
  (tmp_path / "t.jsonl.xz").write_bytes(b"no archive")
  with pytest.raises(DamagedError, match="is no text"):
    read_texts(tmp_path / "t.jsonl.xz", setting="--texts")
