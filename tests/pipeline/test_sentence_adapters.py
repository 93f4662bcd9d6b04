"""Adapters inside a sentence encoder, from tasks of texts to lines of results."""

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from configs import roberta_glue
from mcdi_jax import Support, generate, load_generator
from mcdi_jax.data import DataConfig
from mcdi_jax.diffusion import DiffusionConfig
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.families import Sentences
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.pipeline import Config, run
from mcdi_jax.pipeline.sentences import check_sentences, load_sentences, prepare_sentences
from mcdi_jax.pipeline.use_config import FeaturesConfig, SentencesConfig
from mcdi_jax.preparation import PreparationConfig
from tests.checkpoints import WORDS, write_bert

TASKS = ("first", "second", "third", "fourth")


def _lines(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Of a task either label has words of its own; one task is of two texts."""
  found = []
  for n, task in enumerate(TASKS):
    words = np.roll(WORDS, n)
    for label in (0, 1):
      own = words[2 * label : 2 * label + 2]
      for _ in range(8):
        text = " ".join(rng.choice(own, 3))
        more = {"b": text} if task == "fourth" else {}
        found.append({"task": task, "a": text, "label": f"label {label}", **more})
  return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
  place = tmp_path_factory.mktemp("s")
  base = write_bert(place / "base", kind="roberta")
  lines = _lines(np.random.default_rng(0))
  (place / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines)))
  return Config(
    family="sentences",
    base="init",
    data=DataConfig(source="texts", path=str(place / "tasks.jsonl")),
    sentences=SentencesConfig(
      base=str(base),
      held_out=("third", "fourth"),
      validation=("second",),
      rank=1,
      length=8,
      closed_form="ridge_loo",
    ),
    features=FeaturesConfig(shots=(2,), ways=(2,), supports=(4,), queries=3),
    preparation=PreparationConfig(
      tasks=4, steps=6, queries=2, prepare_on="support_and_query", shard_tasks=4
    ),
    diffusion=DiffusionConfig(steps=3, segments=3, schedule="linear_auto"),
    score=ScoreConfig("tokens", width=8, layers=1, heads=2, gradient=True),
    meta=MetaConfig(
      ways=(2,), shots=(2,), support="kept", steps=2, tasks=2, draws=2, validation_tasks=2
    ),
    finishing=FinishingConfig(queries=2, feature_noise=0.0),
    evaluation=EvaluationConfig(
      tasks=4, tuning_tasks=2, trials=2, queries=2, descent_steps=(2,), latency=False
    ),
  )


def test_tasks_are_kept_apart(config: Config):
  """Each is a group: no task of the method has labels of two of them."""
  sets = load_sentences(config)
  assert sets.classes[0] == ("first/label 0", "first/label 1")
  assert [*sets.tests] == ["third", "fourth"]
  assert sets.train.classes == 2 and sets.val.together == 2
  changes = {"validation": ("second", "third"), "held_out": ("fourth",)}
  both = dataclasses.replace(config.sentences, **changes)
  val = load_sentences(dataclasses.replace(config, sentences=both)).val
  assert val.group.tolist() == [0, 0, 1, 1] and val.together == 2
  of = lambda items, c: {row.tobytes() for row in items.x[items.index[c][: items.count[c]]]}  # noqa: E731
  for c in range(2):
    assert of(val, c) == of(sets.val, c)
    assert of(val, 2 + c) == of(sets.tests["third"], c)


def test_a_bank_is_of_its_training_tasks_and_its_adapters(config: Config, tmp_path: Path):
  """With another task held out, or another rank, it is another: else it could hold tasks
  that are tested."""
  place = as_path(tmp_path)
  timed = lambda _: contextlib.nullcontext()  # noqa: E731

  def digest(**changes: Any) -> str:
    own = dataclasses.replace(config.sentences, **changes)
    changed = dataclasses.replace(config, sentences=own)
    return prepare_sentences(changed, load_sentences(changed), 0, place, timed).digest

  changes = (
    {},
    {"held_out": ("third",)},
    {"rank": 2},
    {"adapted": "blocks/*/qkv/1/kernel"},
  )
  assert len({digest(**own) for own in changes}) == len(changes)
  assert digest() == digest()


@pytest.fixture(scope="module")
def made(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
  place = tmp_path_factory.mktemp("made")
  run(config, place)
  return place


def test_every_row_is_of_every_held_out_task(made: Path):
  lines = [*map(json.loads, (made / "results.jsonl").read_text().splitlines())]
  found = {(x["protocol"], x["method"]) for x in lines if x["value"] is not None}
  rows = {
    "generated", "descent_2", "ridge_loo", "logistic", "shuffled_condition", "mean_of_bank"
  }  # fmt: skip
  assert {(task, row) for task in ("third", "fourth") for row in rows} <= found
  assert (made / "report.html").exists()


def test_what_is_kept_generates_for_texts(made: Path, config: Config):
  generator = load_generator(made / "seed_0" / "generator")
  assert isinstance(generator.family, Sentences)
  items = load_sentences(config).tests["fourth"]
  x = items.x[items.index[:, :2].reshape(-1)]
  params = generate(generator, Support(x, np.array([0, 0, 1, 1])), jax.random.key(0))
  logits = generator.network.apply(params, x)
  assert logits.shape == (4, 2) and bool(np.isfinite(logits).all())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"held_out": ("fifth",)}, "config.sentences.held_out is ('fifth',): name some of"),
    ({"validation": ()}, "config.sentences.validation is (): name some of"),
    ({"length": 41}, "config.sentences.length is 41: the encoder sees 40 tokens"),
    ({"base": ""}, "config.sentences.base is empty: name the folder"),
    ({"base": "nowhere"}, "name the folder of a checkpoint with config.sentences.base"),
    ({"held_out": ("first", "third", "fourth")}, "leave one of them out"),
    ({"adapted": "nothing"}, "the pattern 'nothing' fits no leaf"),
  ],
)
def test_what_cannot_be_done_is_told(config: Config, changes: dict[str, Any], message: str):
  changed = dataclasses.replace(config.sentences, **changes)
  config = dataclasses.replace(config, sentences=changed)
  with pytest.raises(InputError, match=re.escape(message)):
    check_sentences(config, load_sentences(config))


def test_a_task_is_held_out_or_for_validation():
  with pytest.raises(InputError, match=r"\['a'\] are held out, too"):
    SentencesConfig(held_out=("a",), validation=("a", "b"))


def test_the_shipped_config_is_of_the_paper_s_tasks():
  config = from_mapping(Config, roberta_glue.get_config().to_dict())
  assert config.sentences.held_out == ("mrpc", "qnli")
  assert config.sentences.adapted == Sentences().adapted
