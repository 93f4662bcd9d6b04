"""What a run advises when a generator's training has diverged."""

import dataclasses

import pytest

from mcdi_jax.lib.files import as_path
from mcdi_jax.pipeline import Config
from mcdi_jax.pipeline.config import GENERATORS
from mcdi_jax.pipeline.generator import _remedy


@pytest.mark.parametrize(
  ("name", "setting"),
  [
    ("generated", "config.meta.rate"),
    ("generated_finished", "config.finishing.rate"),
    ("hypernetwork", "config.meta.rate"),
  ],
)
def test_the_rate_that_counts_and_the_caches_that_serve_are_named(name: str, setting: str):
  said = _remedy(Config(), GENERATORS[name], as_path("/w"))
  assert said.startswith(f"lower {setting} and name another --workdir")
  assert "config.backbone_dir = /w/backbone" in said
  assert "config.bank_dir = /w/bank" in said
  shared = dataclasses.replace(Config(), backbone_dir="/b", bank_dir="/c")
  said = _remedy(shared, GENERATORS[name], as_path("/w"))
  assert "config.backbone_dir = /b" in said
  assert "config.bank_dir = /c" in said
