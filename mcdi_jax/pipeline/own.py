"""A use of a user's own: a family and its items, from the file that `--config` names."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from mcdi_jax.families import TaskFamily
from mcdi_jax.families.checks import check_family
from mcdi_jax.lib.config import check, to_config_dict
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import Known, Method, descent
from mcdi_jax.pipeline.checks import check_family_has
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.initial import prepare_frozen
from mcdi_jax.pipeline.use import Arrays, Prepared, Rivals, Stage, Suite, Use


class OwnData(NamedTuple):
  """What `get_suite` has given; `digest` is of its arrays."""

  suite: Suite
  name: str
  digest: str
  classes: tuple[tuple[str, ...], ...] = ()


def own_config() -> ConfigDict:
  """A config to begin with for networks of one's own, of up to some thousand weights:
  differences from a shared θ_0, tokens, a short chain, a few minutes on two CPU cores."""
  config = to_config_dict(Config())
  config.family, config.base, config.score.network = "own", "init", "tokens"
  config.generators = ("generated", "generated_finished", "hypernetwork")
  config.preparation.update(tasks=2048, steps=100, rate=0.01, epsilon=1e-8)
  config.diffusion.update(steps=3, schedule="linear_auto")
  config.score.layers = 1
  config.meta.update(ways=(1,), shots=(1,), steps=300, validation_tasks=200)
  config.finishing.update(steps=2000, feature_noise=0.0, rate=2e-3)
  config.evaluation.update(tasks=1000, tuning_tasks=200, trials=8)
  return config


def own_use(family: TaskFamily, get_suite: Callable[..., Suite]) -> Use:
  """The chain for any family.

  Args:
    family: its ways and shots are the config's.
    get_suite: where its tasks come from, unembedded; numpy arrays will do. `get_suite()`,
      or `get_suite(config)` where `config.data`, which `--data` sets, has a say in it.
  """
  takes_config = bool(inspect.signature(get_suite).parameters)

  def load(config: Config) -> OwnData:
    suite = get_suite(config) if takes_config else get_suite()
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(suite):
      array = np.asarray(leaf)
      digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    sets = ("train", "val", "tests")
    on_device = {n: jax.tree.map(jnp.asarray, getattr(suite, n)) for n in sets}
    return OwnData(suite._replace(**on_device), family.name, digest.hexdigest())

  def formed(config: Config) -> TaskFamily:
    return dataclasses.replace(family, ways=config.meta.ways, shots=config.meta.shots)

  def check_own(config: Config, data: OwnData) -> None:
    check(bool(family.name), "FAMILY.name", family.name, "give the family a name")
    suite = data.suite
    sets = {"train": suite.train, "val": suite.val, **suite.tests}
    check_family(formed(config), sets, config.forms[0])
    check_family_has(config, formed(config))

  def prepare(
    config: Config, data: OwnData, seed: int, workdir: Path, timed: Stage
  ) -> Prepared:
    del seed
    own, train = formed(config), data.suite.train
    call = (config, own, data.digest, lambda _: train, workdir, timed)
    frozen, digest = prepare_frozen(*call)
    return Prepared(own, frozen, digest, None, data.suite, own.versions(train), {})

  return Use(load, check_own, prepare, network_rivals, _no_examples)


def network_rivals(config: Config, prepared: Prepared) -> Rivals:
  """Of any network: gradient descent from θ_0 after several numbers of steps."""
  tunable = tuple(descent(n) for n in config.evaluation.descent_steps)
  return Rivals(tunable, Known(prepared.family, prepared.frozen), ())


def _no_examples(
  config: Config,
  data: Any,
  prepared: Prepared,
  methods: Sequence[Method],
  key: Key[Array, ""],
) -> Arrays:
  return {}
