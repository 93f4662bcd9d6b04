"""The layout of DomainNet: folders of domains with folders of the same classes."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mcdi_jax.data import DataConfig
from mcdi_jax.encoders import ENCODERS
from mcdi_jax.encoders.encoder import Encoder
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.pipeline import Config, run
from mcdi_jax.pipeline.embed import embed_set
from mcdi_jax.pipeline.embedding import open_encoder
from mcdi_jax.pipeline.use_config import FeaturesConfig
from mcdi_jax.preparation import PreparationConfig

CLASSES, DOMAINS, PER_CLASS = "abcdefghijkl", ("clipart", "real", "sketch"), 8


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
  """Embedded features of twelve classes in three domains, the classes split by a list."""
  rng = np.random.default_rng(0)
  means = rng.integers(40, 215, (len(CLASSES), 2, 2, 3))
  for domain in DOMAINS:
    for name, mean in zip(CLASSES, means, strict=True):
      place = tmp_path / "set" / domain / name
      place.mkdir(parents=True)
      for i in range(PER_CLASS):
        image = np.clip(mean + rng.integers(-20, 20, mean.shape), 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(place / f"{i}.png")
  flat = lambda params, x: x.reshape(len(x), -1) + params  # noqa: E731
  toy = lambda _: Encoder(jnp.zeros(()), flat, 2, (0.5,) * 3, (0.5,) * 3)  # noqa: E731
  monkeypatch.setitem(ENCODERS, "toy", toy)
  data = DataConfig(source="folder", path=str(tmp_path / "set"))
  embedding, out = open_encoder("toy", tmp_path), tmp_path / "set.npz"
  shape = embed_set(data, out, embedding, domains=True)
  assert shape == (len(CLASSES) * len(DOMAINS) * PER_CLASS, 12)
  with pytest.raises(InputError, match="--domains is for folders: a file says itself"):
    file = DataConfig(source="npz", path=str(out))
    embed_set(file, tmp_path / "again.npz", embedding, domains=True)
  return str(out)


def test_trained_in_some_domains_and_tested_on_other_classes_of_another(
  source: str, tmp_path: Path
):
  """Some of the classes at a time, as in its 5-way 1-shot protocol."""
  parts = {"train": CLASSES[:5], "val": CLASSES[5:8], "test": CLASSES[8:]}
  rows = [f"{part}\t{name}\n" for part, names in parts.items() for name in names]
  (tmp_path / "split.txt").write_text("".join(["split\tclass\n", *rows]))
  config = Config(
    family="features",
    data=DataConfig(source="npz", path=source, class_split=str(tmp_path / "split.txt")),
    features=FeaturesConfig(
      domains=("clipart", "real"),
      project=0,
      ways=(2,),
      shots=(1,),
      supports=(4,),
      queries=4,
    ),
    preparation=PreparationConfig(tasks=4, steps=6, rate=1e2, shard_tasks=4),
    score=ScoreConfig(width=8, layers=1, vectors=4, heads=2),
    meta=MetaConfig(steps=2, tasks=2, draws=2, ways=(2,), shots=(1,), validation_tasks=4),
    finishing=FinishingConfig(queries=4),
    evaluation=EvaluationConfig(
      queries=4, trials=1, tuning_tasks=4, temperatures=(0.0,), latency=False
    ),
  )
  lines: list[dict[str, Any]] = run(config, tmp_path / "w")
  found = {(x["protocol"], x["ways"], x["shots"]) for x in lines if x["metric"]}
  assert found == {(f"set-{domain}-4", 2, 1) for domain in DOMAINS}
