"""Whose a workdir is: what its settings say and its images show, not how paths are
spelled."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcdi_jax.data import DataConfig, Splits, from_labels
from mcdi_jax.lib.errors import DamagedError, InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import MetaConfig
from mcdi_jax.pipeline import Config
from mcdi_jax.pipeline.workdir import (
  claim,
  gather_results,
  read_results,
  write_results,
)

CONFIG = Config(data=DataConfig(source="folder", path="set"), seeds=(3, 4))


def _splits(name: str = "set", digest: str = "d1") -> Splits:
  items = from_labels(np.zeros((2, 4, 4, 1), np.uint8), np.arange(2))
  return Splits(items, items, items, (("a", "b"),) * 3, name, digest)


@pytest.fixture
def workdir(tmp_path: Path) -> Any:
  """One that CONFIG has begun in, on the images d1."""
  place = as_path(tmp_path / "w")
  claim(CONFIG, _splits(), place)
  (place / "seed_3").mkdir()
  return place


def _files(place: Any) -> dict[str, bytes]:
  return {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()}


@pytest.mark.parametrize(
  "data",
  [
    {"path": "set/"},
    {"path": "./set"},
    {"path": "/abs/set"},
    {"source": "npz", "path": "set.npz"},
    {"source": "tfds", "name": "set", "path": "somewhere", "parts": ("train",)},
    {"grey": True, "split_seed": 3, "class_split": "table.tsv"},
  ],
)
def test_the_same_images_are_the_same_run(workdir: Any, data: dict[str, Any]):
  """Whatever they are read from; and the caches may have moved. They keep the name that
  the run has given them."""
  again = dataclasses.replace(
    CONFIG,
    data=dataclasses.replace(CONFIG.data, **data),
    backbone_dir="cache/backbone",
    bank_dir="cache/bank/",
  )
  assert claim(again, _splits(name="other"), workdir).name == "set"
  assert json.loads((workdir / "config.json").read_text())["backbone_dir"]


@pytest.mark.parametrize(
  ("changes", "digest", "said"),
  [
    ({"meta": MetaConfig(rate=0.5)}, "d1", r"\(config\.meta\.rate differ\)"),
    ({"seeds": (3,)}, "d1", r"\(config\.seeds differ\)"),
    ({}, "d2", r"\(the images differ\)"),
    (
      {"data": DataConfig(path="b")},
      "d2",
      r"\(config.data.path, config.data.source differ",
    ),
    (
      {"data": dataclasses.replace(CONFIG.data, rotations=True)},
      "d1",
      r"\(config\.data\.rotations differ\)",
    ),
  ],
)
def test_another_run_is_refused_by_what_differs(
  workdir: Any, changes: dict[str, Any], digest: str, said: str
):
  before = _files(workdir)
  with pytest.raises(InputError, match=said):
    claim(dataclasses.replace(CONFIG, **changes), _splits(digest=digest), workdir)
  assert _files(workdir) == before


def test_a_setting_that_an_earlier_version_lacked_is_at_its_default(workdir: Any):
  """Its run goes on, unless the setting is now another one."""
  path = workdir / "config.json"
  before = json.loads(path.read_text())
  del before["align"], before["score"]["ridge"]
  path.write_text(json.dumps(before))
  with pytest.raises(InputError, match=r"\(config\.align differ\)"):
    claim(dataclasses.replace(CONFIG, align=True), _splits(), workdir)
  claim(CONFIG, _splits(), workdir)
  assert json.loads(path.read_text())["align"] is False


def test_the_refusal_says_which_caches_serve_and_how(tmp_path: Path):
  """Those inside the refused workdir that are there; spaces are quoted."""
  place = as_path(tmp_path / "a run")
  claim(CONFIG, _splits(), place)
  mended = dataclasses.replace(CONFIG, meta=MetaConfig(rate=0.5))

  def refusal(config: Config) -> str:
    with pytest.raises(InputError) as raised:
      claim(config, _splits(), place)
    return str(raised.value)

  assert refusal(mended).endswith("differ): name another --workdir")
  for name in ("backbone", "bank"):
    (place / name).mkdir()
  flags = shlex.split(refusal(mended))[-2:]
  assert flags == [
    f"--config.backbone_dir={place}/backbone",
    f"--config.bank_dir={place}/bank",
  ]
  elsewhere = dataclasses.replace(mended, bank_dir="cache")
  assert shlex.split(refusal(elsewhere))[-1] == f"--config.backbone_dir={place}/backbone"


def test_without_a_config_nobody_goes_on(workdir: Any):
  """Nor with one that is damaged; before any seed has begun, nothing is lost."""
  whole = (workdir / "config.json").read_bytes()
  (workdir / "config.json").unlink()
  with pytest.raises(InputError, match=r"holds seed_3 but no config\.json.*put it back"):
    claim(CONFIG, _splits(), workdir)
  for damage in (b"{", b"[]", b""):
    (workdir / "config.json").write_bytes(damage)
    with pytest.raises(DamagedError, match=r"config\.json is damaged.*another --workdir"):
      claim(CONFIG, _splits(), workdir)
  (workdir / "config.json").unlink()
  (workdir / "seed_3").rmdir()
  claim(CONFIG, _splits(), workdir)
  assert (workdir / "config.json").read_bytes() == whole


@pytest.mark.parametrize("damage", [None, b"{", b"[]", b'{"name": 3}'])
def test_without_its_digest_the_settings_of_the_images_must_be_the_same(
  workdir: Any, damage: bytes | None
):
  path = workdir / "data.json"
  path.write_bytes(damage) if damage else path.unlink()
  moved = dataclasses.replace(CONFIG, data=DataConfig(source="folder", path="elsewhere"))
  with pytest.raises(InputError, match=r"\(config\.data\.path differ\)"):
    claim(moved, _splits(), workdir)
  claim(CONFIG, _splits(), workdir)
  claim(moved, _splits(), workdir)  # now it is known again


def test_results_are_complete_or_absent(workdir: Any):
  lines = {
    seed: [{"b": np.float32(seed), "a": 1 / 3, "seed": seed}, {"a": None, "seed": seed}]
    for seed in CONFIG.seeds
  }
  assert read_results(workdir, 4) is None
  assert gather_results(CONFIG, workdir) == []
  write_results(workdir, 4, lines[4])
  assert read_results(workdir, 4) == lines[4]
  assert gather_results(CONFIG, workdir) == lines[4]
  write_results(workdir, 3, lines[3])
  assert gather_results(CONFIG, workdir) == lines[3] + lines[4]
  found = [json.loads(x) for x in (workdir / "results.jsonl").read_text().splitlines()]
  assert found == lines[3] + lines[4]
  assert list(found[0]) == ["b", "a", "seed"]
  path = workdir / "seed_4" / "results.json"
  whole = path.read_bytes()
  for damaged in (whole[:-9], whole.replace(b"0.3", b"0.4"), b"[]", b'{"lines": []}'):
    path.write_bytes(damaged)
    assert read_results(workdir, 4) is None
