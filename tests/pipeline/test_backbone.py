"""The backbone: one a seed, trained once, by one process; whole or made again."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import stop_at

from mcdi_jax.data import DataConfig, Splits, load_splits
from mcdi_jax.lib import disk
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import stage
from mcdi_jax.networks import conv4, with_statistics
from mcdi_jax.networks.pretrain import BackboneConfig, PretrainState
from mcdi_jax.pipeline import Config, backbone, heads
from mcdi_jax.pipeline.backbone import embed_splits, prepare_backbone
from mcdi_jax.preparation import PreparationConfig

CONFIG = Config(
  data=DataConfig(glyph_classes=(12, 8, 8), glyph_drawings=6),
  backbone=BackboneConfig(width=4, steps=6, ways=6, drawings=3, group=6),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
  return load_splits(CONFIG.data)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
  """A stand-in for the training, with nothing to compile: every step adds the same draw
  of numpy. Lists the keys that it was given."""
  keys: list[Any] = []

  def pretraining(network: Any, config: BackboneConfig, images: Any) -> Any:
    def init(key: Any) -> PretrainState:
      keys.append(jax.random.key_data(key).tolist())
      shapes = jax.eval_shape(with_statistics(network).init, key)
      params = jax.tree.map(lambda x: jnp.asarray(np.zeros(x.shape, x.dtype)), shapes)
      return PretrainState(jnp.int32(0), params, ())

    def step(state: PretrainState, key: Any, images: Any) -> Any:
      keys.append(jax.random.key_data(key).tolist())
      params = jax.tree.map(lambda x: x + keys[-1][1] % 7 + state.step, state.params)
      return PretrainState(state.step + 1, params, ()), {"loss": 1.0}

    return init, step

  def embed(apply: Any, params: Any, images: Any) -> Any:
    x = np.arange(float(len(images.x)))[:, None] * np.ones(4)
    return images._replace(x=jnp.float32(x))

  monkeypatch.setattr(backbone, "pretraining", pretraining)
  monkeypatch.setattr(backbone, "embed", embed)
  return keys


def _prepare(directory: Path, splits: Splits, seed: int = 0, **changes: Any) -> Any:
  config = dataclasses.replace(CONFIG, **changes)
  place = as_path(directory)
  return prepare_backbone(config, splits, place, place / "metrics.jsonl", seed)


def test_each_seed_has_its_own(tmp_path: Path, splits: Splits, drawn: list[Any]):
  """Its keys are those of its seed, its folder is named by what determines it, and its
  lines say whose they are."""
  for seed in (5, 6):
    before = len(drawn)
    made = _prepare(tmp_path, splits, seed)
    expected = jax.random.split(key_for(seed, "backbone"))
    k_init, k_run = (jax.random.key_data(key).tolist() for key in expected)
    assert drawn[before:] == [k_init, *[k_run] * 6]
    content = {
      "data": splits.digest,
      "rotations": False,
      "backbone": CONFIG.backbone.content(),
      "matmul_precision": CONFIG.matmul_precision,
      "seed": seed,
    }
    assert "seed" not in content["backbone"]
    assert made.digest == content_hash(content)
    assert Path(made.directory) == tmp_path / made.digest[:16]
  first, second = (_prepare(tmp_path, splits, seed) for seed in (5, 6))
  leaves = (jax.tree.leaves(made.params["network"])[0] for made in (first, second))
  assert not np.array_equal(*leaves)
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["seed"] for line in lines] == [5, 6]


def test_seeds_may_share_that_of_the_bank(
  tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
):
  asked: list[int] = []

  def stop(*given: Any) -> None:
    asked.append(given[-1])
    raise KeyboardInterrupt

  monkeypatch.setattr(heads, "prepare_backbone", stop)
  preparation = PreparationConfig(seed=7)
  for shared in (False, True):
    own = dataclasses.replace(CONFIG.backbone, shared=shared)
    config = dataclasses.replace(CONFIG, backbone=own, preparation=preparation)
    for seed in (3, 4):
      with pytest.raises(KeyboardInterrupt):
        heads.prepare_heads(config, splits, seed, as_path(tmp_path), stage)
  assert asked == [3, 4, 7, 7]


@pytest.mark.parametrize(
  "changes",
  [
    {"backbone": dataclasses.replace(CONFIG.backbone, rate=0.02)},
    {"matmul_precision": "default"},
    {"data": dataclasses.replace(CONFIG.data, rotations=True)},
  ],
)
def test_whatever_determines_it_changes_its_folder(
  tmp_path: Path, splits: Splits, drawn: list[Any], changes: dict[str, Any]
):
  one, other = _prepare(tmp_path, splits), _prepare(tmp_path, splits, **changes)
  assert one.directory != other.directory
  again = _prepare(tmp_path, splits._replace(digest="0"))
  assert again.directory not in (one.directory, other.directory)


def test_stopped_at_any_write_it_ends_the_same(
  tmp_path: Path, splits: Splits, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
):
  """The training, the params, the features: with the same arrays, and no step is taken
  again once the last checkpoint is there."""
  number, stopped, whole = 0, True, None
  while stopped:
    number += 1
    stopped, place = False, tmp_path / str(number)
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        embed_splits(CONFIG, splits, _prepare(place, splits))
      except KeyboardInterrupt:
        stopped = True
    (kept,) = [d for d in place.glob("*/checkpoints/6")] or [None]
    before, finished = len(drawn), kept and (kept / "sha256.json").exists()
    made = _prepare(place, splits)
    assert len(drawn) - before <= (1 if finished else 7)
    found = made.params, embed_splits(CONFIG, splits, made)
    whole = whole or found
    chex.assert_trees_all_equal(found, whole, strict=True)
    assert not list(place.rglob("*.lock"))
  assert number > 12


def test_two_runs_share_a_fresh_folder(
  tmp_path: Path, splits: Splits, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
):
  """The second waits, and finds it done."""
  found, train, waiting = [], backbone.train, threading.Event()
  second = threading.Thread(target=lambda: found.append(_prepare(tmp_path, splits)))

  def slow(*arguments: Any, **settings: Any) -> Any:
    second.start()
    assert waiting.wait(60)
    return train(*arguments, **settings)

  said = lambda text: waiting.set() if "waiting" in text else None  # noqa: E731
  monkeypatch.setattr(backbone, "train", slow)
  monkeypatch.setattr(disk.CONSOLE, "print", said)
  mine = _prepare(tmp_path, splits)
  second.join(60)
  assert len(drawn) == 7  # one training
  chex.assert_trees_all_equal(found[0].params, mine.params)


def test_damage_names_what_to_delete(tmp_path: Path, splits: Splits, drawn: list[Any]):
  made = _prepare(tmp_path, splits)
  embed_splits(CONFIG, splits, made)
  for name in ("params", "features.safetensors"):
    damaged = Path(made.directory / name)
    file = damaged
    if damaged.is_dir():
      file = max(damaged.rglob("d/*"), key=lambda f: f.stat().st_size)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedError, match=f"{damaged} is damaged.*: delete "):
      embed_splits(CONFIG, splits, _prepare(tmp_path, splits))
    file.write_bytes(content)


def test_a_finished_cache_is_only_read(
  tmp_path: Path, splits: Splits, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
):
  """Nothing is written or locked: it may lie in a read-only place."""
  first = embed_splits(CONFIG, splits, _prepare(tmp_path, splits))

  def refused(*arguments: Any) -> None:
    raise AssertionError("something was written")

  monkeypatch.setattr(disk, "write_point", refused)
  monkeypatch.setattr(disk, "lock", refused)
  again = embed_splits(CONFIG, splits, _prepare(tmp_path, splits))
  chex.assert_trees_all_equal(again, first)


def test_a_rate_that_diverges_says_what_can_be_done(
  tmp_path: Path, splits: Splits, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
):
  """Another rate is another config, and a workdir belongs to one."""
  network = conv4(splits.image_shape[-1], CONFIG.backbone.width)
  init, step = backbone.pretraining(network, CONFIG.backbone, splits.train)
  diverges = lambda state, *rest: (step(state, *rest)[0], {"loss": np.nan})  # noqa: E731
  monkeypatch.setattr(backbone, "pretraining", lambda *_: (init, diverges))
  said = r"lower config\.backbone\.rate and name another --workdir"
  with pytest.raises(InputError, match=said) as error:
    _prepare(tmp_path, splits)
  assert "checkpoint" not in str(error.value)
