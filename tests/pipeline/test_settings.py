"""Every number that cannot be is refused where it is set, by its name."""

import re
from typing import Any

import numpy as np
import pytest

from mcdi_jax.data import Splits, from_labels
from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config
from mcdi_jax.pipeline.heads import check_heads

WRONG: dict[str, dict[str, Any]] = {
  "backbone": {
    "width": 0,
    "steps": 0,
    "ways": 1,
    "drawings": 1,
    "group": 7,  # does not divide 60 · 6
    "warp": 1.5,
    "rate": 0.0,
  },
  "preparation": {
    "tasks": 0,
    "steps": 0,
    "shard_tasks": 0,
    "queries": 0,
    "augment_copies": -1,
    "sam_radius": -0.1,
    "init_scale": -1.0,
    "rate": -0.1,
    "epsilon": 0.0,
  },
  "diffusion": {"steps": 0, "segments": 0, "handover": 2.0, "schedule": "x"},
  "score": {"width": 0, "layers": 0, "heads": 0, "vectors": 0, "position": True},
  "finishing": {
    "steps": 0,
    "passes": 0,
    "feature_noise": -1.0,
    "feature_power": 0.5,
    "rate": 0.0,
  },
  "meta": {
    "steps": 0,
    "tasks": 0,
    "draws": 0,
    "inner_steps": 0,
    "validate_every": 0,
    "validation_tasks": 0,
    "save_every": 0,
    "rate": 0.0,
    "inner_rate": -1.0,
    "warmup": 1.0,
    "clip": -1.0,
    "ema": 1.0,
    "ways": (1,),
    "shots": (),
  },
  "evaluation": {
    "tasks": 1,
    "queries": 0,
    "trials": 0,
    "tuning_tasks": 0,
    "generator_rates": (-1.0,),
    "whole_steps": (0,),
    "temperatures": (-0.5,),
    "latency_s": 0.0,
  },
}
CASES = [(g, name, value) for g, wrong in WRONG.items() for name, value in wrong.items()]
CASES += [("meta", "ways", value) for value in ((1, 5), ())]


@pytest.mark.parametrize(("group", "name", "value"), CASES)
def test_a_number_that_cannot_be_is_named(group: str, name: str, value: Any):
  said = re.escape(f"config.{group}.{name} is {value!r}")
  with pytest.raises(InputError, match=rf"^{said}: \S") as raised:
    from_mapping(Config, {group: {name: value}})
  assert "\n" not in str(raised.value)


def test_damping_cannot_be_negative():
  with pytest.raises(InputError, match=r"^config\.precondition is -1.0: give at least 0"):
    Config(precondition=-1.0)


def test_the_equivariant_network_takes_plain_weights():
  with pytest.raises(InputError, match=r"precondition is 0\.1: its symmetry needs plain"):
    Config(precondition=0.1)


def test_patterns_of_leaves_are_different_ones():
  with pytest.raises(InputError, match=r"without is \('a', 'a'\): give different"):
    from_mapping(Config, {"evaluation": {"without": ("a", "a")}})


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(("classes", "each"), [(4, 20), (8, 3)])
def test_each_split_must_be_large_enough(split: str, classes: int, each: int):
  """The other two are: eight classes of twenty images, for 5 ways and 15 queries."""
  items = lambda classes, each: from_labels(  # noqa: E731
    np.zeros((classes * each, 16, 16, 1), np.uint8), np.repeat(np.arange(classes), each)
  )
  sets = {name: items(8, 20) for name in ("train", "val", "test")}
  splits = Splits(**sets, classes=(), name="toys", digest="")
  needs: dict[str, Any] = {
    "preparation": {"prepare_on": "support_and_query"},
    "meta": {"support": "kept"},
  }
  needs |= {"backbone": {"ways": 4, "drawings": 3, "group": 6}}
  config = from_mapping(Config, needs)
  check_heads(config, splits)
  small = splits._replace(**{split: items(classes, each)})
  with pytest.raises(InputError, match=f"the {split} split has|a class of the {split} "):
    check_heads(config, small)
