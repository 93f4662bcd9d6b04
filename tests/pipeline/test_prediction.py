"""From folders to weights to labels: the same as `generate` and `apply` on the arrays, and
nothing of the user's is lost."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import IMAGE, SHOTS, WAYS, make_generator
from PIL import Image

import mcdi_jax
from mcdi_jax import Generator, Support, generate, load_distribution, load_weights
from mcdi_jax.data.names import printable
from mcdi_jax.generator import save_generator
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import (
  Predictions,
  generate_from_folder,
  predict,
  prediction,
  predictions_file,
  write_predictions,
)

CLASSES = ("elm", "fir", "oak")
ROUNDING = 1e-5  # float32, through T = 6 steps of a network


def _write(path: Path, image: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image[..., 0]).save(path)


@pytest.fixture(scope="module")
def generator() -> Generator:
  return make_generator()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
  """Holds `generator/`, `support/`, `new/` and weights of both kinds, `one/`, `many/`."""
  root = tmp_path_factory.mktemp("place")
  save_generator(root / "generator", generator, {"border_brightness": 0.5})
  for name, images in zip(CLASSES, _support_images(), strict=True):
    for i, image in enumerate(images):
      _write(root / "support" / name / f"{i}.png", image)
  for i, image in enumerate(_new_images()):
    _write(root / "new" / ("below" if i > 2 else ".") / f"{i}.png", image)
  _generate(root, root / "one")
  _generate(root, root / "many", samples=3)
  return root


def _support_images() -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (WAYS, SHOTS, *IMAGE), np.uint8)


def _new_images() -> np.ndarray:
  return np.random.default_rng(1).integers(0, 256, (5, *IMAGE), np.uint8)


def _unit(images: np.ndarray) -> jax.Array:
  return jnp.asarray(np.float32(images.reshape(-1, *IMAGE)) / 255)


def _generate(place: Path, out: Path, **settings: Any) -> dict[str, Any]:
  return generate_from_folder(str(place / "generator"), place / "support", out, **settings)


def _expected(generator: Generator, samples: Any) -> np.ndarray:
  """By hand, from weights with a leading axis."""
  x, number = _unit(_new_images()), len(samples["head"]["bias"])
  each = [jax.tree.map(lambda leaf, n=n: leaf[n], samples) for n in range(number)]
  logits = np.stack([generator.network.apply(params, x) for params in each])
  odds = np.exp(np.float64(logits))
  return (odds / odds.sum(-1, keepdims=True)).mean(0)


def _content(root: Path) -> dict[str, bytes]:
  return {str(f): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def test_the_weights_are_what_generate_gives_on_the_same_arrays(place, generator, key):
  support = Support(_unit(_support_images()), jnp.repeat(jnp.arange(WAYS), SHOTS))
  expected = generate(generator, support, key)
  found = load_weights(place / "one" / "weights.safetensors")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=ROUNDING), found, expected
  )


def test_a_manifest_says_what_the_weights_are(place):
  one = json.loads((place / "one" / "manifest.json").read_text())
  assert one["classes"] == list(CLASSES)
  assert (one["shots"], one["samples"], one["temperature"]) == ([SHOTS] * WAYS, 0, 0.0)
  assert one["generator"] == str(place / "generator")
  many = load_distribution(place / "many")[1]
  assert (many["samples"], many["temperature"]) == (3, 1.0)
  assert many["fingerprint"] == one["fingerprint"]


def test_samples_follow_temperature_and_seed(place, tmp_path):
  """At τ = 0 each is the one set of weights; else each is its own, by the seed."""
  kernel = lambda out: np.asarray(load_distribution(out)[0]["head"]["kernel"])  # noqa: E731
  many = kernel(place / "many")
  assert abs(many[:, None] - many).max((2, 3))[~np.eye(3, dtype=bool)].min() > 1e-3
  _generate(place, tmp_path / "again", samples=3)
  np.testing.assert_array_equal(kernel(tmp_path / "again"), many)
  _generate(place, tmp_path / "other", samples=3, seed=1)
  assert abs(kernel(tmp_path / "other")[:, None] - many).max((2, 3)).min() > 1e-3
  _generate(place, tmp_path / "cold", samples=3, temperature=0.0)
  one = load_weights(place / "one" / "weights.safetensors")["head"]["kernel"]
  cold = kernel(tmp_path / "cold")
  np.testing.assert_allclose(cold, np.stack([one] * 3), atol=ROUNDING)


def test_predictions_are_the_softmax_of_the_network(place, generator):
  found = predict(place / "one", place / "new")
  params = load_weights(place / "one" / "weights.safetensors")
  expected = _expected(generator, jax.tree.map(lambda p: p[None], params))
  np.testing.assert_allclose(found.probabilities, expected, atol=ROUNDING)
  assert found.classes == CLASSES
  assert found.files == ("0.png", "1.png", "2.png", "below/3.png", "below/4.png")
  assert np.ptp(found.probabilities, 0).max() > 1e-3  # not in vain


def test_predictions_of_a_distribution_are_the_mean_over_its_samples(place, generator):
  found = predict(place / "many", place / "new")
  samples, _ = load_distribution(place / "many")
  np.testing.assert_allclose(
    found.probabilities, _expected(generator, samples), atol=ROUNDING
  )


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_row_of_probabilities_sums_to_one(place, kind):
  found = predict(place / kind, place / "new").probabilities
  assert found.shape == (5, WAYS)
  np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_images_are_predicted_alike_in_any_batches_and_alone(place, monkeypatch):
  whole = predict(place / "one", place / "new")
  alone = predict(place / "one", place / "new" / "below" / "3.png")
  assert alone.files == ("3.png",)
  np.testing.assert_allclose(alone.probabilities, whole.probabilities[3:4], atol=ROUNDING)
  monkeypatch.setattr(prediction, "_BATCH", 2)
  parts = predict(place / "one", place / "new")
  assert parts.files == whole.files
  np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=ROUNDING)


def test_the_table_of_predictions_is_a_csv(tmp_path):
  """Whatever the names of files and classes."""
  classes = ("elm, white", 'the "fir"', "Öl", "file", "probability", "=1+1")
  p = np.full((5, 6), 0.1)
  p[[0, 1, 2, 3, 4], [1, 0, 3, 4, 5]] = 0.5
  names = ("a,b.png", "ü.png", "@x", "-1.png", "'.png")
  write_predictions(tmp_path / "below" / "p.csv", Predictions(names, classes, p))
  text = (tmp_path / "below" / "p.csv").read_text("utf8")
  head, *rows = csv.reader(io.StringIO(text))
  assert head == ["file", "class", "probability", *(f"p:{name}" for name in classes)]
  assert len(set(head)) == len(head)
  assert [row[:3] for row in rows] == [
    ["a,b.png", 'the "fir"', "0.500000"],
    ["ü.png", "elm, white", "0.500000"],
    ["'@x", "file", "0.500000"],
    ["'-1.png", "probability", "0.500000"],
    ["''.png", "'=1+1", "0.500000"],
  ]
  np.testing.assert_array_equal(np.array(rows)[:, 3:].astype(float), p)


@pytest.mark.parametrize(
  "name", ["=x", "+x", "-x", "@x", "\tx", "\rx", "'=x", "'x", "x=", ""]
)
def test_no_cell_of_a_table_is_a_formula_and_every_name_can_be_had_back(tmp_path, name):
  found = Predictions((name,), (name, "b"), np.array([[0.7, 0.3]]))
  write_predictions(tmp_path / "p.csv", found)
  with (tmp_path / "p.csv").open(newline="") as f:
    head, row = csv.reader(f)
  for cell in (*head, *row):
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
  assert [cell.removeprefix("'") for cell in row[:2]] == [printable(name)] * 2
  assert head[3] == f"p:{printable(name)}"


def test_a_table_replaces_an_earlier_one_and_no_other_file(tmp_path):
  found = Predictions(("a",), ("b", "c"), np.array([[0.7, 0.3]]))
  write_predictions(tmp_path / "p.csv", found)
  write_predictions(tmp_path / "p.csv", found)
  (tmp_path / "photo.png").write_bytes(b"mine")
  (tmp_path / "folder").mkdir()
  for name, said in (
    ("photo.png", "is a file of another kind"),
    ("folder", "is a folder: name a new file"),
    ("p.csv/below", "lies in .*p.csv, which is a file"),
  ):
    for write in (predictions_file, lambda path: write_predictions(path, found)):
      with pytest.raises(InputError, match=f"--csv .*{name} {said}"):
        write(tmp_path / name)
  assert (tmp_path / "photo.png").read_bytes() == b"mine"


def test_unreadable_images_do_not_cost_the_others(place, tmp_path):
  shutil.copytree(place / "new", tmp_path / "new")
  for name in ("1.png", "below/4.png"):
    (tmp_path / "new" / name).write_bytes(b"no picture")
  whole, found = (predict(place / "one", root / "new") for root in (place, tmp_path))
  assert whole.unreadable is None
  assert found.files == ("0.png", "2.png", "below/3.png")
  np.testing.assert_allclose(
    found.probabilities, whole.probabilities[[0, 2, 3]], atol=ROUNDING
  )
  assert re.search("2 files .*/1.png .*below/4.png", found.unreadable)


def test_images_in_which_nothing_is_seen_are_named(place, tmp_path, capsys):
  shutil.copytree(place / "new", tmp_path / "new")
  Image.new("L", (16, 16), 255).save(tmp_path / "new" / "[1].png")
  predict(place / "one", tmp_path / "new")
  assert "1 of 6 images are all of one value: [1].png" in capsys.readouterr().out


def test_names_that_are_not_utf_8_do_not_cost_a_prediction(place, tmp_path):
  name = os.fsdecode(b"caf\xe9\n.png")
  (tmp_path / "new").mkdir()
  shutil.copy(place / "new" / "0.png", tmp_path / "new" / name)
  found = predict(place / "one", tmp_path / "new")
  assert found.files == (r"caf\xe9\n.png",)
  write_predictions(tmp_path / "p.csv", found)
  assert r"caf\xe9\n.png," in (tmp_path / "p.csv").read_text()


@pytest.mark.parametrize("names", [("b", "A", "C"), ("c10", "c9", "B"), ("z\n", "é", "Z")])
def test_names_of_any_order_keep_their_probabilities(place, tmp_path, generator, names):
  """The column of a class is that of its images, whatever order its name has."""
  for new, old in zip(names, CLASSES, strict=True):
    shutil.copytree(place / "support" / old, tmp_path / "support" / new)
  generate_from_folder(
    str(place / "generator"), tmp_path / "support", tmp_path / "w", samples=0
  )
  expected = predict(place / "one", place / "new")
  found = predict(tmp_path / "w", place / "new")
  shown = [name.replace("\n", r"\n") for name in names]
  assert sorted(found.classes) == sorted(shown)
  column = [found.classes.index(name) for name in shown]
  np.testing.assert_allclose(
    found.probabilities[:, column], expected.probabilities, atol=ROUNDING
  )
  assert np.ptp(expected.probabilities, 1).max() > 10 * ROUNDING


def test_an_archive_gives_the_same_weights(place, tmp_path):
  content = {"images": _support_images().reshape(-1, *IMAGE)}
  labels = np.repeat(CLASSES, SHOTS)
  np.savez(tmp_path / "s.npz", labels=labels, **content)
  made = generate_from_folder(str(place / "generator"), tmp_path / "s.npz", tmp_path / "w")
  assert made["classes"] == list(CLASSES)
  one, other = (
    load_weights(root / "weights.safetensors") for root in (place / "one", tmp_path / "w")
  )
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_classes_of_unequal_numbers_of_images_are_one_flat_support(
  place, tmp_path, monkeypatch
):
  """Nothing is padded or left out, and the manifest says how many there were."""
  root = Path(shutil.copytree(place / "support", tmp_path / "s"))
  (root / "fir" / "0.png").unlink()
  seen = []

  def generate(generator, support, key, **settings):
    seen.append(support)
    return load_weights(place / "one" / "weights.safetensors")

  monkeypatch.setattr(prediction, "generate", generate)
  made = generate_from_folder(str(place / "generator"), root, tmp_path / "w")
  (support,) = seen
  assert made["shots"] == [SHOTS, SHOTS - 1, SHOTS]
  np.testing.assert_array_equal(support.y, np.repeat([0, 1, 2], made["shots"]))
  kept = [i for i in range(WAYS * SHOTS) if i != SHOTS]
  np.testing.assert_array_equal(support.x, _unit(_support_images())[jnp.array(kept)])


def test_weights_from_classes_of_unequal_numbers_classify(place, tmp_path):
  root = Path(shutil.copytree(place / "support", tmp_path / "s"))
  (root / "fir" / "0.png").unlink()
  generate_from_folder(str(place / "generator"), root, tmp_path / "w")
  found = predict(tmp_path / "w", place / "new").probabilities
  np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_weights_of_another_manifest_are_refused(place, tmp_path):
  """As a kill between the two files leaves them."""
  shutil.copytree(place / "one", tmp_path / "w")
  (tmp_path / "s").mkdir()
  for new, old in zip("abc", reversed(CLASSES), strict=True):
    shutil.copytree(place / "support" / old, tmp_path / "s" / new)
  generator = str(place / "generator")
  generate_from_folder(generator, tmp_path / "s", tmp_path / "other")
  shutil.copy(tmp_path / "other" / "weights.safetensors", tmp_path / "w")
  with pytest.raises(InputError, match="not the file that manifest.json describes.*anew"):
    predict(tmp_path / "w", place / "new")


MANIFESTS = {
  "a list": lambda manifest: [manifest],
  "no classes": lambda manifest: {**manifest, "classes": None},
  "one class": lambda manifest: {**manifest, "classes": "elm"},
  "numbers": lambda manifest: {**manifest, "classes": [1, 2, 3]},
  "no generator": lambda manifest: {**manifest, "generator": None},
  "no fingerprint": lambda m: {k: v for k, v in m.items() if k != "fingerprint"},
  "nothing": lambda manifest: {},
  "text": lambda manifest: "manifest",
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_of_another_shape_is_said(place, tmp_path, case):
  shutil.copytree(place / "one", tmp_path / "w")
  path = tmp_path / "w" / "manifest.json"
  path.write_text(json.dumps(MANIFESTS[case](json.loads(path.read_text()))))
  with pytest.raises(InputError, match=f"{tmp_path}/w") as caught:
    predict(tmp_path / "w", place / "new")
  assert "\n" not in str(caught.value)


def test_weights_of_another_generator_are_refused_with_the_way_out(place, tmp_path):
  """Also of one with the same name that was trained anew."""
  root = Path(shutil.copytree(place, tmp_path / "place"))
  other = make_generator(end=0.05)
  save_generator(root / "other", other)
  with pytest.raises(InputError, match="another network.*other.*--generator.*anew"):
    predict(root / "one", root / "new", str(root / "other"))
  _generate(root, root / "mine")
  save_generator(root / "generator", other)
  with pytest.raises(InputError, match="another network"):
    predict(root / "mine", root / "new")


def test_a_moved_generator_is_found_by_its_new_name(place, tmp_path):
  root = Path(shutil.copytree(place, tmp_path / "place"))
  _generate(root, root / "one")
  (root / "generator").rename(root / "moved")
  with pytest.raises(MissingError, match=r"no generator in .*generator: .*--generator"):
    predict(root / "one", root / "new")
  found = predict(root / "one", root / "new", str(root / "moved"))
  expected = predict(place / "one", place / "new")
  np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_relative_name_is_found_from_elsewhere(place, tmp_path, monkeypatch):
  monkeypatch.chdir(place)
  generate_from_folder("generator", "support", tmp_path / "w")
  monkeypatch.chdir(tmp_path)
  assert predict("w", place / "new").files[0] == "0.png"


@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("foreign", ["notes.txt", "manifest.json", "distribution.json"])
def test_a_folder_of_other_files_is_refused_and_loses_nothing(
  place, tmp_path, foreign, samples
):
  """Also if a file happens to have the name of one of ours."""
  out = tmp_path / "mine"
  (out / "samples").mkdir(parents=True)
  (out / foreign).write_text('{"icons": []}')
  (out / "samples" / "a.txt").write_text("kept")
  (out / "weights.safetensors").write_text("kept")
  before = _content(out)
  with pytest.raises(InputError, match=r"--out .*mine holds other files: name a new"):
    _generate(place, out, samples=samples)
  assert _content(out) == before


def test_a_file_is_no_folder_to_write_to(place, tmp_path):
  (tmp_path / "w").write_text("kept")
  for out, said in (("w", "is a file: name a new folder"), ("w/v", "lies in .*/w, which")):
    with pytest.raises(InputError, match=f"--out .*{out} {said}"):
      _generate(place, tmp_path / out)
  assert (tmp_path / "w").read_text() == "kept"


def test_weights_are_not_written_into_their_support(place):
  """The next reading would find a class more."""
  before = _content(place / "support")
  for out in (place / "support", place / "support" / "weights"):
    with pytest.raises(InputError, match="--out .* lies in .*support, which would be read"):
      _generate(place, out)
  assert _content(place / "support") == before


def test_what_was_written_before_is_replaced_whatever_its_kind(place, tmp_path):
  """`predict` uses what was written last; what lies beside it stays."""
  plain, turned, out = place / "support", tmp_path / "turned", tmp_path / "w"
  for new, old in zip("abc", reversed(CLASSES), strict=True):
    shutil.copytree(plain / old, turned / new)
  out.mkdir()  # an empty folder is taken
  one, many = (predict(place / n, place / "new").probabilities for n in ("one", "many"))
  for support, samples, expected in (
    (plain, 0, one),
    (turned, 3, None),  # by other noise
    (plain, 3, many),
    (turned, 0, one[:, ::-1]),  # the same classes under other names
  ):
    generate_from_folder(str(place / "generator"), support, out, samples=samples)
    found = predict(out, place / "new")
    assert found.classes == (CLASSES if support == plain else ("a", "b", "c"))
    if expected is not None:
      np.testing.assert_allclose(found.probabilities, expected, atol=ROUNDING)
    write_predictions(out / "predictions.csv", found)
    written = (
      {"distribution.json", "samples"}
      if samples
      else {"manifest.json", "weights.safetensors"}
    )
    there = {f.name.removesuffix("-2") for f in out.iterdir()}
    assert there == {"predictions.csv", *written}
    assert len(list(out.iterdir())) == 3


def test_no_weights_are_missing(place, tmp_path):
  for folder in (tmp_path, tmp_path / "nowhere", place / "new"):
    with pytest.raises(MissingError, match="no generated weights in .*launch.generate"):
      predict(folder, place / "new")
  with pytest.raises(MissingError, match="there is no image"):
    predict(place / "one", tmp_path)


def test_weights_of_another_kind_are_refused(place, tmp_path):
  """Those that a user has saved; and a manifest of other classes."""
  samples = load_distribution(place / "many")[0]
  mcdi_jax.save_distribution(tmp_path / "d", samples)
  with pytest.raises(InputError, match="not those of an image classifier.*launch.generate"):
    predict(tmp_path / "d", place / "new")
  shutil.copytree(place / "one", tmp_path / "w")
  manifest = json.loads((tmp_path / "w" / "manifest.json").read_text())
  (tmp_path / "w" / "manifest.json").write_text(json.dumps({**manifest, "classes": ["a"]}))
  with pytest.raises(InputError, match="not those of an image classifier"):
    predict(tmp_path / "w", place / "new")


def test_other_forms_of_task_than_the_trained_are_noted(place, tmp_path, monkeypatch):
  printed = io.StringIO()
  monkeypatch.setattr(CONSOLE, "file", printed)
  _generate(place, tmp_path / "w")
  assert printed.getvalue() == ""
  _generate(place, tmp_path / "w", shots=1)
  assert "note: 1 images a class; this generator was trained for 2" in printed.getvalue()
  shutil.copytree(place / "support", tmp_path / "two")
  shutil.rmtree(tmp_path / "two" / "elm")
  made = generate_from_folder(str(place / "generator"), tmp_path / "two", tmp_path / "w")
  assert "note: 2 classes; this generator was trained for 3" in printed.getvalue()
  assert made["classes"] == ["fir", "oak"]
