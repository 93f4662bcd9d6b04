"""Adapters for documents, from a folder of texts to results."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import DataConfig
from mcdi_jax.data.tokenizer import open_tokenizer
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.families import Documents
from mcdi_jax.generator import ScoreConfig, load_generator
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.networks.llama import logits
from mcdi_jax.networks.llama_checkpoint import read_llama
from mcdi_jax.pipeline import Config, adapt_to_text, documents, run
from mcdi_jax.pipeline.documents import load_documents, prepare_documents
from mcdi_jax.pipeline.timings import benchmark
from mcdi_jax.pipeline.use_config import BaseTrainingConfig, DocumentsConfig
from mcdi_jax.preparation import PreparationConfig
from mcdi_jax.tasks import Protocol
from mcdi_jax.weights.lora import merge_adapters
from mcdi_jax.weights.peft import read_peft
from tests.checkpoints import WORDS, write_llama, write_tokenizer

SPLITS = ("val", "test", "val_unseen_source", "test_unseen_source")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
  """Sources that say words of their own, again and again."""
  place, rng = tmp_path_factory.mktemp("d"), np.random.default_rng(0)
  base = write_llama(place / "base", tie_word_embeddings=True)
  write_tokenizer(base)
  lines = []
  for n in range(30):
    split = "train" if n < 18 else SPLITS[n % 4]
    own = rng.permutation(WORDS)[:2] if "unseen" in split else np.array(WORDS)[n % 3 :][:2]
    source = f"new {n % 4}" if "unseen" in split else f"known {n % 3}"
    text = " ".join(rng.choice(own, 40))
    lines.append({"text": text, "source": source, "split": split})
  (place / "docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
  training = BaseTrainingConfig(steps=4, batch=2, length=8)
  return Config(
    family="documents",
    base="init",
    data=DataConfig(source="texts", path=str(place / "docs.jsonl")),
    documents=DocumentsConfig(base=str(base), training=training, rank=1, window=8, view=3),
    preparation=PreparationConfig(
      tasks=4,
      steps=6,
      queries=2,
      epsilon=1e-8,
      prepare_on="support_and_query",
      shard_tasks=4,
    ),
    diffusion=DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    score=ScoreConfig(
      "tokens",
      width=8,
      layers=1,
      heads=2,
      gradient=True,
      descends=True,
      position=True,
      summary=0,
    ),
    meta=MetaConfig(
      ways=(1,), shots=(2,), support="kept", steps=2, tasks=2, draws=2, validation_tasks=2
    ),
    finishing=FinishingConfig(steps=2, tasks=2, queries=2, passes=2, feature_noise=0.0),
    generators=("generated", "generated_finished", "generated_iterated"),
    evaluation=EvaluationConfig(
      tasks=4,
      tuning_tasks=2,
      trials=2,
      queries=2,
      descent_steps=(2,),
      ensemble=2,
      passes=3,
      latency=False,
    ),
  )


def test_documents_come_in_halves_without_near_duplicates(
  config: Config, capsys: pytest.CaptureFixture
):
  """No training document is in both halves, nor near one that is for anything else; one
  that is left out is none that a test shares runs with."""
  sets = load_documents(config)
  told = capsys.readouterr().out
  whole = sets.base, sets.items["train"]
  assert all((items.length >= 32).all() and items.length.max() > 32 for items in whole)
  halves = [{row.tobytes() for row in items.ids} for items in whole]
  assert halves[0] and halves[1] and not halves[0] & halves[1]
  for split in SPLITS:
    own = {sets.sources[n] for n in sets.items[split].source}
    assert split == "train" or sets.items[split].ids.shape[1] == 32
    assert all(name.startswith("new" if "unseen" in split else "known") for name in own)
  path = Path(config.data.path)
  lines = path.read_text().splitlines()
  test = next(json.loads(line) for line in lines if '"test"' in line)
  copied = path.with_name("copied.jsonl")
  copied.write_text("\n".join([*lines, json.dumps({**test, "split": "train"})]))
  again = load_documents(
    dataclasses.replace(config, data=DataConfig(source="texts", path=str(copied)))
  )
  number = lambda s: len(s.base.ids) + len(s.items["train"].ids)  # noqa: E731
  assert number(again) == number(sets)
  assert "in their own support" in told and capsys.readouterr().out == told


@pytest.fixture(scope="module")
def made(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
  place = tmp_path_factory.mktemp("made")
  run(config, place)
  return place


def test_adapters_of_sources_are_made_once_for_all_seeds(
  config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  sets = load_documents(config)
  again = [config, sets, 0, as_path(tmp_path), lambda title: contextlib.nullcontext()]
  kept = prepare_documents(*again)
  monkeypatch.setattr(documents, "save_tree", None)  # which is not callable
  jax.tree.map(np.testing.assert_array_equal, prepare_documents(*again).known, kept.known)
  faster = dataclasses.replace(config.preparation, rate=0.05)
  again[0] = dataclasses.replace(config, preparation=faster)
  with pytest.raises(TypeError):  # others are to be made
    prepare_documents(*again)


def test_the_whole_chain(config: Config, made: Path):
  """Both protocols, by source; what is continued is the same."""
  lines = [json.loads(line) for line in (made / "results.jsonl").read_text().splitlines()]
  protocols = [f"documents-{sources}-sources" for sources in ("seen", "unseen")]
  in_view = {f"{name}-in-view" for name in protocols}
  assert {line["protocol"] for line in lines} == {*protocols, *in_view}
  methods = {line["method"] for line in lines}
  rivals = {"shared", "descent_2", "shuffled_condition", "in_context"} | {"best_of_sources"}
  passes = {"generated_iterated", "generated_iterated_2", "generated_iterated_3"}
  assert {"generated", "generated_ensemble"} | rivals | passes <= methods
  controls = {f"shuffled_{name}" for name in ("generated_finished", "generated_iterated")}
  assert controls <= methods
  for line in lines:
    assert np.isfinite(line["value"]) and line["value"] < 0
    if line["method"] in passes:
      settings = line["settings"]
      assert "minus_shared" in settings and "minus_generated_iterated_2" not in settings
  generator = load_generator(str(made / "seed_0" / "generator"))
  assert isinstance(generator.family, Documents) and generator.family.rank == 1
  assert run(config, made) == lines


def test_its_time_is_taken_on_tokens(made: Path):
  """As a run and `launch.benchmark` take it."""
  generator = load_generator(str(made / "seed_0" / "generator"))
  found = benchmark(generator, Protocol(1, 2, 2), seconds=0.01)
  protocols = {timing.protocol for timing in found}
  assert protocols == {"latency-head", "latency-backbone", "latency-public"}
  assert all(timing.latency.median_ms > 0 for timing in found)


def test_a_text_gets_its_adapter(made: Path, tmp_path: Path):
  """In the layout of peft, for the base that the run has written; the losses that are
  told are those of the merged model. Nothing is written for what is refused."""
  text = tmp_path / "text.txt"
  text.write_text("one two " * 40)
  generator = made / "seed_0" / "generated_finished" / "generator"
  found = adapt_to_text(generator, made / "base", text, tmp_path / "adapter")
  assert found.support == 16 and found.rest == 64
  model, base = read_llama(made / "base")
  a, b = read_peft(tmp_path / "adapter")
  family = load_generator(generator).family
  ids = open_tokenizer(made / "base", 1000)([text.read_text()])[0][1:]
  x, y = family.windows(jnp.asarray(ids), 10)
  for said, factor in ((found.before, 0.0), (found.after, 1.0)):
    scaled = jax.tree.map(lambda leaf, f=factor: f * leaf, b)
    output = logits(model, merge_adapters({"base": base, "a": a, "b": scaled}), x[2:])
    np.testing.assert_allclose(family.loss(output, y[2:]).mean(), said, rtol=1e-5)
  own = shutil.copytree(generator, tmp_path / "own")
  shutil.copytree(made / "base", own / "base")
  again = adapt_to_text(own, "", text, tmp_path / "again")
  assert again == found
  (tmp_path / "short.txt").write_text("one two")
  (tmp_path / "empty.txt").write_text(" ")
  other = write_llama(tmp_path / "other", tie_word_embeddings=True)
  write_tokenizer(other)
  for base, name, said in (
    (made / "base", "short.txt", r"short.txt has \d tokens: this generator needs 16"),
    (made / "base", "empty.txt", "empty.txt is empty"),
    (made / "base", "none.txt", "there is no file .*none.txt"),
    (other, "text.txt", "is not the model that .* was trained for"),
  ):
    with pytest.raises(InputError, match=said):
      adapt_to_text(generator, base, tmp_path / name, tmp_path / "refused")
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "letter.txt").write_text("keep")
  with pytest.raises(InputError, match="--out .*mine holds other files"):
    adapt_to_text(generator, made / "base", text, tmp_path / "mine")
  with pytest.raises(InputError, match="generates heads: --generator needs"):
    adapt_to_text("omniglot-5way", made / "base", text, tmp_path / "refused")
  assert not (tmp_path / "refused").exists()


def test_an_adapter_is_made_in_as_many_passes_as_were_trained(made: Path, tmp_path: Path):
  """Unless another number is asked for; one is what the generator makes."""
  text = tmp_path / "text.txt"
  text.write_text("two one one " * 20)
  generator = made / "seed_0" / "generated_iterated" / "generator"

  def after(out: str, passes: int) -> float:
    return adapt_to_text(
      generator, made / "base", text, tmp_path / out, passes=passes
    ).after

  assert after("as trained", 0) == after("twice", 2) != after("once", 1)


@pytest.mark.parametrize(
  ("changes", "error", "message"),
  [
    ({"base": "no"}, MissingError, "there is no .*no/config.json.*config.documents.base"),
    ({"adapted": "*"}, InputError, "config.documents.adapted.*name matrices of blocks"),
    ({"window": 64}, InputError, "has no document of 256 tokens for any split"),
    (
      {"view": 60},
      InputError,
      "config.documents.view . window is 68: the model sees 64 tokens",
    ),
    ({"adapted": "nothing"}, InputError, "the pattern 'nothing' fits no leaf"),
    (
      {"training": BaseTrainingConfig(length=999)},
      InputError,
      r"config\.documents\.training\.length is 999: documents have .* tokens",
    ),
  ],
)
def test_what_cannot_be_done_is_told(
  config: Config, tmp_path: Path, changes: dict, error: type, message: str
):
  own = dataclasses.replace(config.documents, **changes)
  with pytest.raises(error, match=message):
    run(dataclasses.replace(config, documents=own), tmp_path)


@pytest.mark.parametrize("group", ["preparation", "finishing"])
def test_no_more_is_asked_than_a_document_has(config: Config, tmp_path: Path, group: str):
  more = dataclasses.replace(getattr(config, group), queries=3)
  said = f"config.{group}.queries is 3: documents have 2 windows after a support"
  with pytest.raises(InputError, match=said):
    run(dataclasses.replace(config, **{group: more}), tmp_path)


def test_a_model_may_stay_as_it_is_given(config: Config, tmp_path: Path):
  """With no step of training `shared` is the checkpoint itself."""
  sets = load_documents(config)
  training = dataclasses.replace(config.documents.training, steps=0)
  own = dataclasses.replace(config.documents, training=training)
  timed = lambda _: contextlib.nullcontext()  # noqa: E731
  given = (dataclasses.replace(config, documents=own), sets, 0, as_path(tmp_path), timed)
  found = prepare_documents(*given).frozen["base"]
  for a, b in zip(*map(jax.tree.leaves, (found, sets.params)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_bank_is_of_one_kind_of_adapters_and_the_model_is_of_all(
  config: Config, tmp_path: Path
):
  sets, timed = load_documents(config), lambda _: contextlib.nullcontext()
  found = []
  for change in ({}, {"view": 3}, {"rank": 2}, {"adapted": "blocks/*/q"}):
    training = BaseTrainingConfig(steps=1, batch=2, length=8)
    own = dataclasses.replace(config.documents, training=training, **change)
    given = (dataclasses.replace(config, documents=own), sets, 0, as_path(tmp_path), timed)
    found.append(prepare_documents(*given).digest)
  assert found[0] == found[1] and len(set(found)) == 3
  assert len([p for p in (tmp_path / "backbone").iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: DocumentsConfig(window=0), "config.documents.window is 0"),
    (lambda: DocumentsConfig(view=-1), "config.documents.view is -1"),
    (lambda: BaseTrainingConfig(steps=-1), "config.documents.training.steps is -1"),
    (lambda: BaseTrainingConfig(batch=0), "config.documents.training.batch is 0"),
  ],
)
def test_settings_that_are_none_are_told(make: Callable, message: str):
  with pytest.raises(InputError, match=message):
    make()


def test_a_tokenizer_that_begins_no_text_is_told(config: Config, tmp_path: Path):
  base = write_llama(tmp_path / "base", tie_word_embeddings=True)
  write_tokenizer(base)
  content = json.loads((base / "tokenizer.json").read_text())
  (base / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
  own = dataclasses.replace(config.documents, base=str(base))
  with pytest.raises(InputError, match="begins texts with no token of its own"):
    load_documents(dataclasses.replace(config, documents=own))
