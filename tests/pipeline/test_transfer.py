"""The chain on features: trained on some classes, tested on whole sets, used on files."""

import dataclasses
import json
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import few_timed
from PIL import Image

from mcdi_jax import Support, generate, load_generator
from mcdi_jax.data import DataConfig
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.encoders import ENCODERS, square
from mcdi_jax.encoders.encoder import Encoder
from mcdi_jax.evaluation import KEYS, EvaluationConfig
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.progress import stage
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.pipeline import Config, generate_from_folder, predict, run, transfer
from mcdi_jax.pipeline.embed import embed_set
from mcdi_jax.pipeline.embedding import Embedder, open_encoder
from mcdi_jax.pipeline.features import check_features, load_features, prepare_features
from mcdi_jax.pipeline.own_features import EncoderFlags
from mcdi_jax.pipeline.targets import asked_of, fewer_of_many_ways
from mcdi_jax.pipeline.use_config import FeaturesConfig
from mcdi_jax.preparation import PreparationConfig
from mcdi_jax.tasks import Protocol

WIDTH, PER_CLASS = 8, 30
FEW = ("generated", "ridge_loo")  # that are timed
CONFIG = Config(
  family="features",
  delta_base="ridge_loo",
  generators=("generated", "generated_delta", "generated_delta_finished"),
  preparation=PreparationConfig(tasks=8, steps=6, rate=1e2, shard_tasks=8),
  diffusion=DiffusionConfig(steps=3, schedule="linear_auto"),
  score=ScoreConfig(width=8, layers=1, vectors=4, heads=2, ridge=2),
  meta=MetaConfig(
    steps=2,
    tasks=2,
    draws=2,
    inner_steps=2,
    ways=(2, 3),
    shots=(1, 3),
    most_items=6,
    validate_every=2,
    validation_tasks=4,
  ),
  finishing=FinishingConfig(steps=2, tasks=2, queries=2, feature_noise=0.1),
  evaluation=EvaluationConfig(
    tasks=6, queries=20, trials=2, tuning_tasks=4, temperatures=(0.0,), latency_s=0.5
  ),
)


def _clusters(seed: int, classes: int, **more: Any) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(classes), PER_CLASS)
  x = rng.normal(size=(len(labels), WIDTH)) + 4 * rng.normal(size=(classes, WIDTH))[labels]
  return {"features": x.astype(np.float32), "labels": labels, "encoder": "toy", **more}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
  place = tmp_path_factory.mktemp("transfer")
  split = np.repeat([0, 1, 2], [6, 4, 4])
  np.savez(place / "source.npz", **_clusters(0, 14, class_split=split))
  domain = np.where(np.arange(3 * PER_CLASS) % 2, "photo", "sketch")
  np.savez(place / "target.npz", **_clusters(1, 3, domain=domain))
  return place


def _config(place: Path, **changes: Any) -> Config:
  targets = (str(place / "target.npz"),)
  features = FeaturesConfig(project=5, targets=targets, shots=(1, 3), supports=(6, 4))
  data = DataConfig(source="npz", path=str(place / "source.npz"))
  return dataclasses.replace(CONFIG, data=data, features=features, **changes)


@pytest.fixture(scope="module")
def timed() -> list[tuple[str, int, int]]:
  return []


@pytest.fixture(scope="module")
def lines(place: Path, timed: list[tuple[str, int, int]]) -> list[dict[str, Any]]:
  with few_timed(transfer, FEW) as asked:
    lines = run(_config(place), place / "w")
  timed += asked
  return lines


def test_every_target_is_tested_with_every_number_of_shots(
  lines: list[dict[str, Any]], timed: list[tuple[str, int, int]]
):
  """All of its classes at once, and a domain for itself; a domain of 15 items a class has
  too few queries."""
  scored = [line for line in lines if line["metric"]]
  assert all(tuple(line) == KEYS for line in lines)
  assert {(x["protocol"], x["ways"], x["shots"], x["tasks"]) for x in scored} == {
    ("source-4", 4, 1, 6),
    ("source-4", 4, 3, 4),
  }
  whitened = ["prototypes", "cosine", "prototypes_whitened"]
  ridge = ["ridge", "ridge_loo", "ridge_ensemble"]
  methods = [*whitened, *ridge, "logistic", "finetune"]
  again = [f"{n}_unlabelled" for n in (*CONFIG.generators, "ridge", "ridge_loo")]
  # those see the target's items, without labels
  expected = [*CONFIG.generators, *methods, *again, "shuffled_condition"]
  assert [x["method"] for x in scored] == 2 * expected
  for line in scored:
    if line["method"] in CONFIG.generators:
      assert len(line["settings"]["minus_ridge_loo"]) == 3
    assert line["transductive"] == line["method"].endswith("_unlabelled")
    if line["method"] == "generated_unlabelled":
      assert len(line["settings"]["minus_ridge_loo_unlabelled"]) == 3
  of = {x["method"]: x["value"] for x in scored if x["shots"] == 3}
  assert of["ridge_loo"] > 60 and np.isfinite([*of.values()]).all()
  every = (*CONFIG.generators, *methods)
  assert timed == [(name, 4, shots) for shots in (1, 3) for name in every]
  heads = {x["method"] for x in lines if x["protocol"] == "latency-head"}
  assert heads == set(FEW) and all(x["latency_ms"] > 0 for x in lines if not x["metric"])


def test_domains_are_sets_of_their_own(place: Path):
  """Where they have items enough."""
  config = _config(place)
  targets, names = load_features(config).targets, []
  for queries in (100, 10):
    features = dataclasses.replace(config.features, queries=queries)
    asked = asked_of(dataclasses.replace(config, features=features), targets, 0)
    names.append({one.name for one in asked})
  assert names == [{"source-4"}, {"source-4", "target-photo", "target-sketch"}]


def test_tasks_of_many_classes_are_fewer():
  """As many queries of them."""
  found = [fewer_of_many_ways(200, ways) for ways in (2, 10, 30, 50, 10_000)]
  assert found == [200, 200, 67, 40, 2]


def test_rivals_are_tuned_with_as_many_shots_as_validation_classes_allow(place: Path):
  config = _config(place)
  prepared = prepare_features(config, load_features(config), 0, as_path(place), stage)
  for form, expected in (
    (Protocol(3, 5, 20), (3, 5, 20)),
    (Protocol(9, 5, 100), (4, 5, PER_CLASS - 5)),
    (Protocol(3, 100, 20), (3, PER_CLASS // 2, PER_CLASS // 2)),
  ):
    assert transfer.tuned_on(form, prepared.suite.val) == expected


def test_a_generator_labels_features_and_images(
  place: Path, lines: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """Of another width, too, and images by the encoder that is named; what was embedded by
  another encoder is refused."""
  name = str(place / "w" / "seed_0" / "generated_delta" / "generator")
  support = _clusters(2, 3)
  few = np.concatenate([np.flatnonzero(support["labels"] == c)[:5] for c in range(3)])
  np.savez(tmp_path / "s.npz", **{n: support[n][few] for n in ("features", "labels")})
  generate_from_folder(name, tmp_path / "s.npz", tmp_path / "weights")
  np.savez(tmp_path / "new.npz", features=support["features"])
  found = predict(tmp_path / "weights", tmp_path / "new.npz")
  given = Support(*(jnp.asarray(support[n][few]) for n in ("features", "labels")))
  expected = _answers(name, given, support["features"])
  np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
  assert found.classes == ("0", "1", "2")
  np.savez(tmp_path / "other.npz", features=support["features"], encoder="another")
  with pytest.raises(InputError, match=r"embedded by 'another', the support .* by ''"):
    predict(tmp_path / "weights", tmp_path / "other.npz")
  np.savez(tmp_path / "wide.npz", features=np.zeros((2, 9), np.float32))
  with pytest.raises(InputError, match="x has 9 features an item, the support had 8"):
    predict(tmp_path / "weights", tmp_path / "wide.npz")

  def toy(_: Any) -> Encoder:
    apply = lambda params, x: x.reshape(len(x), -1) @ params  # noqa: E731
    mixed = np.random.default_rng(0).normal(size=(3 * 4 * 4, 12)).astype(np.float32)
    return Encoder(jnp.asarray(mixed), apply, 4, (0.5,) * 3, (0.5,) * 3)

  monkeypatch.setitem(ENCODERS, "toy", toy)
  rng = np.random.default_rng(3)
  for c in ("dark", "light"):
    (tmp_path / "images" / c).mkdir(parents=True)
    for n in range(4):
      noise = rng.integers(0, 60, (6 + n, 6, 3)) + 180 * (c == "light")
      Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "images" / c / f"{n}.png")
  with pytest.raises(InputError, match="holds images, and this generator takes features"):
    generate_from_folder(name, tmp_path / "images", tmp_path / "w2")
  flags = EncoderFlags("toy", "anything")
  out = tmp_path / "w2"
  made = generate_from_folder(name, tmp_path / "images", out, encoder=flags)
  assert made["embedded_by"].startswith("toy@4-")
  found = predict(out, tmp_path / "images")
  read = [np.asarray(Image.open(tmp_path / "images" / file)) for file in found.files]
  x = Embedder(open_encoder("toy", "anything"))(read)
  given = Support(jnp.asarray(x), jnp.repeat(jnp.arange(2), 4))
  np.testing.assert_allclose(found.probabilities, _answers(name, given, x), atol=1e-4)


def _answers(name: str, support: Support, x: np.ndarray) -> np.ndarray:
  """Probabilities from what the same generator makes in code."""
  generator, ways = load_generator(name), int(support.y.max()) + 1
  params = generate(generator, support, jax.random.key(0), ways=ways)
  return jax.nn.softmax(generator.network.apply(params, jnp.asarray(x)))


def _stop(*_: Any) -> None:
  raise KeyboardInterrupt


def test_sets_are_embedded_resumably(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
  """Labels, splits and domains come along; an interrupted one goes on."""

  def toy(_: Any) -> Encoder:
    return Encoder(
      {}, lambda _, x: x.mean(1).reshape(len(x), -1), 4, (0.0,) * 3, (1.0,) * 3
    )

  monkeypatch.setitem(ENCODERS, "toy", toy)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (70, 6, 5, 1)).astype(np.uint8)
  labels, domain = np.arange(70) % 3, np.repeat(["a", "b"], 35)
  extra = {"class_split": [0, 1, 2], "domain": domain, "classes": ["x", "y", "z"]}
  np.savez(tmp_path / "images.npz", images=images, labels=labels, **extra)
  data = DataConfig(source="npz", path=str(tmp_path / "images.npz"))
  monkeypatch.setattr("mcdi_jax.pipeline.embed._SHARD", 32)
  embedding = open_encoder("toy", "anything")
  with monkeypatch.context() as patch:
    patch.setattr("mcdi_jax.pipeline.embed.Bar.update", _stop)
    with pytest.raises(KeyboardInterrupt):
      embed_set(data, tmp_path / "f.npz", embedding)
  assert len(list(tmp_path.glob(".f.npz.parts/*.safetensors"))) == 1
  shape = embed_set(data, tmp_path / "f.npz", embedding)
  found = dict(np.load(tmp_path / "f.npz"))
  assert shape == found["features"].shape == (70, 12)
  small = np.stack([square(x, 4, "bilinear") for x in images]) / 255
  expected = small.mean(1).reshape(70, 12)
  np.testing.assert_allclose(found["features"], expected, rtol=1e-5)
  for name, value in {**extra, "labels": labels}.items():
    np.testing.assert_array_equal(found[name], value)
  assert str(found["encoder"]) == embedding.name
  assert "32 of 70 items had been embedded before" in capsys.readouterr().out
  assert not list(tmp_path.glob(".f.npz.parts"))
  for c in range(3):  # the same images in folders: the same features
    for n in np.flatnonzero(labels == c):
      place = tmp_path / "folder" / "xyz"[c] / f"{n:02d}.png"
      place.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(images[n, ..., 0]).save(place)
  folder = DataConfig(source="folder", path=str(tmp_path / "folder"))
  embed_set(folder, tmp_path / "g.npz", embedding)
  by_class = found["features"][np.argsort(labels, kind="stable")]
  np.testing.assert_array_equal(np.load(tmp_path / "g.npz")["features"], by_class)
  with pytest.raises(InputError, match="is a file of another kind: name a new one"):
    embed_set(data, tmp_path / "images.npz", embedding)
  with pytest.raises(InputError, match="holds features already"):
    features = DataConfig(source="npz", path=str(tmp_path / "f.npz"))
    embed_set(features, tmp_path / "g.npz", embedding)


@pytest.mark.parametrize(
  ("value", "dtype", "said"),
  [
    (np.nan, "float32", "gives NaN or infinite features for 6 of 6 items: bring its own"),
    (1e6, "float16", "--dtype is float16, which holds up to 65504, and features reach 1"),
  ],
)
def test_features_that_could_not_be_read_again_are_not_written(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, dtype: Any, said: str
):
  weights = {"w": jnp.float32(value)}
  mean = lambda p, x: p["w"] * (1 + x.mean(1).reshape(len(x), -1))  # noqa: E731
  toy = Encoder(weights, mean, 4, (0.0,) * 3, (1.0,) * 3)
  monkeypatch.setitem(ENCODERS, "toy", lambda _: toy)
  images = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 1)).astype(np.uint8)
  np.savez(tmp_path / "images.npz", images=images, labels=np.arange(6) % 3)
  data = DataConfig(source="npz", path=str(tmp_path / "images.npz"))
  with pytest.raises(InputError, match=said):
    embed_set(data, tmp_path / "f.npz", open_encoder("toy", "anything"), dtype=dtype)
  assert not (tmp_path / "f.npz").exists()


def test_bad_sets_are_told_before_any_work(place: Path, tmp_path: Path):
  good = _clusters(0, 13, class_split=np.repeat([0, 1, 2], [6, 3, 4]))
  holes = good["features"].copy()
  holes[5, 2] = np.nan
  alike, domain = np.ones_like(holes), np.zeros(len(holes), int)
  images = {"images": np.zeros((9, 4, 4, 1), np.uint8), "labels": np.arange(9) % 3}
  for content, message in (
    ({**good, "features": holes}, "have NaN or infinite values in 1 rows, the first is 5"),
    ({**good, "features": good["labels"][:, None]}, r"floats \[n, D\] are needed"),
    ({**good, "features": alike}, "features in .* are all the same: they tell no class"),
    ({**good, "domain": domain, "domains": "x"}, r"domains in .* is <U1 \(\): names are"),
    (images, "has no array 'features': it holds .* launch.embed makes features"),
  ):
    np.savez(tmp_path / "source.npz", **content)
    data = DataConfig(source="npz", path=str(tmp_path / "source.npz"))
    with pytest.raises(InputError, match=message):
      run(dataclasses.replace(CONFIG, data=data), tmp_path / "w")
  np.savez(tmp_path / "source.npz", **good)
  with zipfile.ZipFile(tmp_path / "source.npz", "a") as archive:
    archive.writestr("domain", b"no array")
  data = DataConfig(source="npz", path=str(tmp_path / "source.npz"))
  with pytest.raises(InputError, match="'domain' in .* is no array: save it with np.savez"):
    run(dataclasses.replace(CONFIG, data=data), tmp_path / "w")
  with pytest.raises(InputError, match="config.data.source is 'glyphs': features come in"):
    run(CONFIG, tmp_path / "w")
  np.savez(tmp_path / "wide.npz", **{**_clusters(1, 3), "encoder": "another"})
  features = FeaturesConfig(targets=(str(tmp_path / "wide.npz"),), project=5)
  config = dataclasses.replace(_config(place), features=features)
  with pytest.raises(InputError, match="of the encoder 'another', the source 8 of 'toy'"):
    run(config, tmp_path / "w")
  source = str(place / "source.npz")
  whole = dict(np.load(source))
  del whole["class_split"]
  np.savez(tmp_path / "same.npz", **whole)
  (tmp_path / "b").mkdir()
  for name in ("a.npz", "b/a.npz"):
    np.savez(tmp_path / name, **_clusters(1, 3))
  two = tuple(str(tmp_path / name) for name in ("a.npz", "b/a.npz"))
  for name, value, message in (
    ("features", FeaturesConfig(targets=(str(tmp_path / "same.npz"),)), "is the source"),
    ("features", FeaturesConfig(targets=two), "two targets are called 'a'"),
    ("meta", dataclasses.replace(CONFIG.meta, ways=(5,), most_items=0), "4 classes"),
    ("family", "heads", "holds features, not images"),
    ("features", FeaturesConfig(project=9), "config.features.project is 9: the features"),
    ("features", FeaturesConfig(domains=("a",)), "domains is 'a': the source has no"),
    ("features", FeaturesConfig(across=1), "config.features.across is 1: 0 domains are"),
    ("features", FeaturesConfig(ready=("no",)), "config.features.ready: there is no gen"),
    ("features", FeaturesConfig(ready=("a", "a")), "ready is .*: name each once"),
    (
      "features",
      FeaturesConfig(ready=("omniglot-5way",)),
      "config.features.ready: omniglot-5way makes weights of heads",
    ),
    ("score", ScoreConfig("tokens"), "config.score.network is 'tokens': features of any"),
  ):
    with pytest.raises(InputError, match=message):
      run(dataclasses.replace(_config(place), **{name: value}), tmp_path / "w")


def test_the_kept_generator_says_what_it_is_of(place: Path, lines: list[dict[str, Any]]):
  folder = place / "w" / "seed_0" / "generator"
  about = json.loads((folder / "generator.json").read_text())["about"]
  assert about["encoder"] == "toy" and about["data"] == "source"
  assert load_generator(folder).family.width == 5


def test_settings_of_features_are_named_with_what_they_may_be():
  for changes, name in (
    ({"shots": (0,), "supports": (1,)}, "config.features.shots"),
    ({"shots": ()}, "config.features.shots"),
    ({"supports": (5,)}, "config.features.supports"),
    ({"supports": (1, 1, 1)}, "config.features.supports"),
    ({"queries": 0}, "config.features.queries"),
    ({"ways": (5,)}, "config.features.ways"),
    ({"ways": (5, 1, 0)}, "config.features.ways"),
    ({"project": -1}, "config.features.project"),
  ):
    with pytest.raises(InputError, match=f"{name} is .*: give"):
      FeaturesConfig(**changes)


def test_unlabelled_features_are_a_centre(
  place: Path, lines: list[dict[str, Any]], tmp_path: Path
):
  """Features that are all moved by as much are labelled as those that are not, if there are
  features without labels to tell by how much."""
  del lines
  name = str(place / "w" / "seed_0" / "generator")
  given = _clusters(2, 3)
  x, shift = given["features"], 9 * np.arange(WIDTH, dtype=np.float32)
  rows = np.arange(0, len(x), 10)
  answers = []
  for moved in (x - x.mean(0), x + shift):
    np.savez(tmp_path / "s.npz", features=moved[rows], labels=given["labels"][rows])
    np.savez(tmp_path / "all.npz", features=moved)
    call = (name, tmp_path / "s.npz", tmp_path / "out")
    made = generate_from_folder(*call, unlabelled=tmp_path / "all.npz")
    assert made["unlabelled"] == str(tmp_path / "all.npz")
    answers.append(predict(tmp_path / "out", tmp_path / "all.npz").probabilities)
  np.testing.assert_allclose(*answers, atol=1e-3)
  np.savez(tmp_path / "other.npz", features=x, encoder="another")
  with pytest.raises(InputError, match=r"--unlabelled .* 8 features of 'another', the"):
    generate_from_folder(*call, unlabelled=tmp_path / "other.npz")
  with pytest.raises(InputError, match="omniglot-5way takes images: leave it out"):
    generate_from_folder("omniglot-5way", *call[1:], unlabelled=tmp_path / "all.npz")


def test_a_source_of_several_domains(place: Path, tmp_path: Path):
  """Each task is of one domain; the test classes of each are a target; those that are
  named are trained on."""
  source = dict(np.load(place / "source.npz"))
  source["domain"] = np.where(np.arange(len(source["labels"])) % 2, "ink", "photo")
  np.savez(tmp_path / "source.npz", **source)
  data = DataConfig(source="npz", path=str(tmp_path / "source.npz"))
  config = dataclasses.replace(
    _config(place),
    data=data,
    features=FeaturesConfig(domains=("ink",), project=5, shots=(1,), supports=(2,)),
  )
  sets = load_features(config)
  assert [*sets.targets] == ["source-ink-4", "source-photo-4"]
  assert (sets.source.train.classes, sets.source.train.together) == (12, 6)
  assert sets.source.classes[1] == tuple(
    f"{c}, {d}" for d in ("ink", "photo") for c in (6, 7, 8, 9)
  )
  config = dataclasses.replace(config, evaluation=EvaluationConfig(queries=5))
  check_features(config, sets)
  suite = prepare_features(
    config, sets, 0, as_path(tmp_path), lambda _: nullcontext()
  ).suite
  ink = source["features"][(source["domain"] == "ink") & (source["labels"] < 6)]
  assert len(suite.train.x) == len(ink) and suite.train.classes == 6
  assert suite.val.classes == 4 and set(map(int, suite.val.group)) == {0}
  for wrong, message in (
    (
      ("oil",),
      r"domains is 'oil': training and validation classes have \['ink', 'photo'\]",
    ),
    (("ink", "ink"), "domains is .*: name each once"),
  ):
    with pytest.raises(InputError, match=message):
      features = dataclasses.replace(config.features, domains=wrong)
      check_features(dataclasses.replace(config, features=features), sets)


def test_distortions_are_domains_of_what_is_not_for_test(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  toy = lambda _: Encoder(  # noqa: E731
    {}, lambda _, x: x.mean(1).reshape(len(x), -1), 4, (0.0,) * 3, (1.0,) * 3
  )
  monkeypatch.setitem(ENCODERS, "toy", toy)
  images = np.random.default_rng(0).integers(0, 255, (30, 6, 6, 3)).astype(np.uint8)
  named = {"images": images, "labels": np.arange(30) % 3, "class_split": [0, 1, 2]}
  np.savez(tmp_path / "images.npz", **named)
  data = DataConfig(source="npz", path=str(tmp_path / "images.npz"))
  embedding, names = open_encoder("toy", "anything"), ("inverted", "noisy")
  embed_set(data, tmp_path / "plain.npz", embedding)
  embed_set(data, tmp_path / "f.npz", embedding, "float32", names, 4)
  plain, found = (dict(np.load(tmp_path / f)) for f in ("plain.npz", "f.npz"))
  np.testing.assert_array_equal(found["features"][:30], plain["features"])
  counts = {d: int((found["domain"] == d).sum()) for d in np.unique(found["domain"])}
  assert counts == {"as they are": 30, "inverted": 8, "noisy": 8}
  assert set(found["labels"][30:]) == {0, 1}
  rows = np.flatnonzero(found["domain"] == "inverted")
  first = np.flatnonzero(np.arange(30) % 3 < 2)[:8]
  np.testing.assert_allclose(
    found["features"][rows], 1 - plain["features"][first], atol=0.01
  )
  twice = tmp_path / "domains.npz"
  np.savez(twice, **named, domain=np.repeat(["a", "b"], 15))
  with pytest.raises(InputError, match="has domains already: leave --distort out"):
    embed_set(
      dataclasses.replace(data, path=str(twice)),
      tmp_path / "g.npz",
      embedding,
      "float32",
      names,
    )


def test_forms_that_most_items_leaves_out_are_told():
  meta = MetaConfig(ways=(5, 10), shots=(1, 50), most_items=200)
  with pytest.raises(InputError, match=r"config.meta.shots is .1, 50.: of them .* leaves"):
    Config(meta=meta)
  with pytest.raises(
    InputError, match=r"ways is .5, 101, 0.: weights .* up to 100 classes"
  ):
    FeaturesConfig(ways=(5, 101, 0))
