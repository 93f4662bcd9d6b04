"""Every number that cannot be is refused where it is set, by its name."""

import re
from typing import Any

import pytest

from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config

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
  "score": {"width": 0, "layers": 0, "heads": 0, "vectors": 0},
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
    "temperatures": (-0.5,),
    "latency_s": 0.0,
  },
}
CASES = [(g, name, value) for g, wrong in WRONG.items() for name, value in wrong.items()]


@pytest.mark.parametrize(("group", "name", "value"), CASES)
def test_a_number_that_cannot_be_is_named(group: str, name: str, value: Any):
  said = re.escape(f"config.{group}.{name} is {value!r}")
  with pytest.raises(InputError, match=rf"^{said}: \S") as raised:
    from_mapping(Config, {group: {name: value}})
  assert "\n" not in str(raised.value)
