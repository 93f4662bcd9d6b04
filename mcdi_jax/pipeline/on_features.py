"""Methods on the features of an encoder as it is, beside those that change it inside: they
are tuned and scored on the same tasks, whose images are embedded beforehand."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation import Scores
from mcdi_jax.families import Features, TaskFamily
from mcdi_jax.families.inside import Inside, plain_features
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import (
  COSINE,
  LOGISTIC,
  PROTOTYPES,
  RIDGE,
  RIDGE_ENSEMBLE,
  RIDGE_LOO,
  Method,
  Statistics,
)
from mcdi_jax.networks import Params
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.tuning import Methods, tuned_baseline
from mcdi_jax.tasks import Protocol, Support

_ROWS = (PROTOTYPES, COSINE, RIDGE, RIDGE_LOO, RIDGE_ENSEMBLE, LOGISTIC)
_MORE_TASKS, _MORE_TRIALS = 8, 2  # than methods inside the encoder: these take no time


class OnFeatures:
  def __init__(self, family: Inside, frozen: Params, val: ClassSet):
    """
    Args:
      val: the validation classes, embedded.
    """
    mean = frozen["mean"] / frozen["scale"]
    forms = {"ways": family.ways, "shots": family.shots}
    self._family, self._val = Features(width=len(mean), **forms), val
    self._inside, self._frozen = family, frozen
    self._known = Statistics(mean, jnp.zeros_like(mean))

  def tuned(self, config: Config, form: Protocol, choices: Path) -> Methods:
    asked = config.evaluation
    more = {
      "tuning_tasks": _MORE_TASKS * asked.tuning_tasks,
      "trials": _MORE_TRIALS * asked.trials,
    }
    config = dataclasses.replace(config, evaluation=dataclasses.replace(asked, **more))
    call = (form, self._family, self._val, self._known, choices)
    return [tuned_baseline(config, tunable, *call) for tunable in _ROWS]

  def scorer(
    self, names: Sequence[str], features: ClassSet, score: Callable[..., list[Scores]]
  ) -> Callable[..., list[Scores]]:
    """Called as `score` is, by which it scores; methods of these names get features of the
    same items."""

    def scored(
      methods: Sequence[Method],
      family: TaskFamily,
      items: ClassSet,
      protocol: Protocol,
      keys: Key[Array, " n"],
    ) -> list[Scores]:
      on = [m for m in methods if m.name in names]
      inside = [m for m in methods if m.name not in names]
      found = score(inside, family, items, protocol, keys)
      others = score(on, self._family, features, protocol, keys)
      both = [*zip(inside, found, strict=True), *zip(on, others, strict=True)]
      drawn: Any = both[0][1].clusters
      assert all(np.array_equal(s.clusters, drawn) for _, s in both)  # the same tasks
      by_name = {m.name: s for m, s in both}
      return [by_name[m.name] for m in methods]

    return scored

  def from_images(self, method: Method) -> Method:
    """With the encoder before it, as those inside it have theirs: for its time."""

    def adapt(variables: Any, support: Support, key: Key[Array, ""], ways: int) -> Any:
      own, frozen = variables  # frozen as an argument: no constants to compile
      on = support._replace(x=plain_features(self._inside, frozen, support.x))
      return method.adapt(own, on, key, ways)

    return method._replace(adapt=adapt, variables=(method.variables, self._frozen))
