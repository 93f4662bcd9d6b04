"""What a generator's training is given: its seed's keys, its start, its split, its rate.
The training itself is a stand-in that notes it."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import WIDTH, make_generator, make_source

from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.meta import FinishingConfig, MetaConfig, MetaState
from mcdi_jax.pipeline import Config, generator
from mcdi_jax.pipeline.config import GENERATORS
from mcdi_jax.pipeline.generator import Material, Trained, prepare_generator
from mcdi_jax.pipeline.windows import Windows

NAMES = ("generated", "generated_finished")
SEEDS = (5, 6)


def _same(a: Any, b: Any) -> bool:
  return np.array_equal(jax.random.key_data(a), jax.random.key_data(b))


class _Training:
  """In place of `train` and what `prepare_generator` makes for it."""

  def __init__(self, monkeypatch: pytest.MonkeyPatch):
    self.given: dict[str, Any] = {}
    replaced = ("train", "validation", "blank", "fit_space", "meta_training", "finishing")
    for name in replaced:
      monkeypatch.setattr(generator, name, getattr(self, name))

  def blank(self, spec: Any, key: Any, *, gauge: bool) -> Any:
    self.given |= {"score key": key}
    return dataclasses.replace(make_generator(gauge=gauge), spec=spec)

  def fit_space(self, made: Any, source: Any, key: Any, **settings: Any) -> Any:
    self.given |= {"scale key": key, "source": source, **settings}
    return made

  def validation(
    self, protocols: Any, key: Any, *, tasks: int, temperature: float, passes: int
  ) -> Any:
    self.given |= {"validation key": key, "protocols": protocols, "τ": temperature}
    self.given |= {"validation passes": passes}
    return lambda state, made, items: self.given.update(validated_on=items)

  def meta_training(self, config: Any, algorithm: str) -> Any:
    self.given |= {"meta": config, "algorithm": algorithm}
    return type("T", (), {"init": staticmethod(lambda score: score), "step": None})

  def finishing(self, config: Any, **settings: Any) -> Any:
    self.given |= settings
    return type("T", (), {"init": staticmethod(lambda score: score), "step": None})

  def train(self, step: Any, state: Any, key: Any, **settings: Any) -> Any:
    self.given |= {"start": state, "key": key, "loop steps": settings["steps"]}
    settings["write"]({"step": 1, "seconds": 2.0})
    settings["validate"](state)
    later = jax.tree.map(lambda leaf: leaf + 1, state)
    return MetaState(settings["steps"], later, later, (), state, jnp.float32(50))


def _material(tmp_path: Path) -> Material:
  return Material(
    family=make_generator().spec.family,
    frozen=make_generator().frozen,
    bank=Windows(lambda _: make_source(), 1, 1),
    val=make_source().items,
    metrics=as_path(tmp_path / "metrics.jsonl"),
    about={},
  )


META = MetaConfig(steps=7, rate=1e-3, ways=(3,), inner_steps=2)
CONFIG = Config(
  backbone=dataclasses.replace(Config().backbone, width=WIDTH),
  score=make_generator().spec.score,
  meta=META,
  finishing=FinishingConfig(steps=4, rate=1e-4, temperature=0.3),
  generators=NAMES,
  seeds=SEEDS,
)


@pytest.mark.parametrize("name", ["generated", "generated_finished", "hypernetwork"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_generator_is_trained_with_its_seeds_keys_from_its_own_start(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
):
  """And chosen on the validation classes, all of a seed on the same tasks. Finishing goes
  on from `generated`, in its seconds too; the hypernetwork takes as many steps as both."""
  training = _Training(monkeypatch)
  material, given = _material(tmp_path), training.given
  start = make_generator()
  decoy = dataclasses.replace(start, score=jax.tree.map(jnp.zeros_like, start.score))
  found = {"k1": Trained(decoy, 100.0), "generated": Trained(start, 30.0)}
  place = as_path(tmp_path / "w")
  made = prepare_generator(CONFIG, name, seed, material, place, found, 3.0)
  assert _same(given["key"], key_for(seed, f"training of {name}"))
  assert _same(given["validation key"], key_for(seed, "validation"))
  assert given["protocols"] == CONFIG.forms
  assert given["validated_on"] is material.val
  assert given["τ"] == (0.0 if name == "generated" else 0.3)
  assert given["validation passes"] == given.get("passes", 1) == 1
  if name == "generated_finished":
    assert given["start"] is start.score
    assert (given["loop steps"], given["steps"]) == (4, 4)
    assert given["rate"] == pytest.approx(3e-4)
    assert made.seconds == 32
    return
  assert _same(given["scale key"], key_for(seed, "scale of the weights"))
  assert _same(given["score key"], key_for(seed, "score network"))
  assert made.seconds == 2
  if name == "generated":
    assert given["meta"] == dataclasses.replace(META, rate=3.0 * META.rate)
    assert (given["algorithm"], given["loop steps"]) == ("reptile", 7)
  else:
    assert (given["loop steps"], given["steps"]) == (11, 11)
    assert given["rate"] == pytest.approx(3e-3)


def test_passes_are_trained_and_chosen_by_as_many(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """From the finished generator, in its seconds too."""
  training = _Training(monkeypatch)
  config = dataclasses.replace(
    CONFIG, finishing=dataclasses.replace(CONFIG.finishing, passes=4)
  )
  start = make_generator()
  found = {"generated_finished": Trained(start, 30.0)}
  given = (_material(tmp_path), as_path(tmp_path / "w"), found)
  made = prepare_generator(config, "generated_iterated", 5, *given)
  assert training.given["start"] is start.score and made.seconds == 32
  assert training.given["passes"] == training.given["validation passes"] == 4


@pytest.mark.parametrize("support", ["redrawn", "kept"])
def test_the_scale_is_fitted_on_the_supports_that_are_trained_on(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, support: str
):
  training = _Training(monkeypatch)
  meta = dataclasses.replace(META, support=support)
  config = dataclasses.replace(CONFIG, meta=meta)
  prepare_generator(config, NAMES[0], 5, _material(tmp_path), as_path(tmp_path), {})
  assert training.given["keep_support"] is (support == "kept")


def test_every_recipe_starts_from_one_that_comes_before_it():
  names = list(GENERATORS)
  for name, recipe in GENERATORS.items():
    assert not recipe.starts_from or names.index(recipe.starts_from) < names.index(name)
