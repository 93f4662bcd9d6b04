"""What a run must know of a use of the method: whence its tasks come, and its rivals."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.families import TaskFamily
from mcdi_jax.lib import files
from mcdi_jax.lib.files import Path
from mcdi_jax.methods import Method, Tunable
from mcdi_jax.networks import Params
from mcdi_jax.pipeline.config import Config

Stage = Callable[[str], AbstractContextManager[None]]
Arrays = dict[str, np.ndarray]


class Suite(NamedTuple):
  """Where tasks come from: items, embedded by the frozen part.

  Attributes:
    train, val: for training, and for whatever is chosen.
    tests: by the name of the protocol, which says what was unseen.
    clusters: of the test items, such as classes: c and c + `clusters` belong together.
      None: each number that the family gives is a cluster.
    shown: test items that pictures of the chain are made of; None: those of the first test.
    query_train: training items that the query loss is of; None: `train`.
    images: what the items were embedded from, where adapters are compared with heads.
  """

  train: Any
  val: Any
  tests: dict[str, Any]
  clusters: int | None = None
  shown: Any = None
  query_train: Any = None
  images: Any = None


class Prepared(NamedTuple):
  """All that there is of one seed before a generator is trained.

  Attributes:
    family: the tasks, and the network that weights are generated for.
    frozen: params of the network that are the same for all tasks.
    digest: sha256 of what the frozen params were made from.
    backbone: what the frozen part is called in results; None: nothing to name.
    suite: the items.
    versions: the training items as preparation takes them.
    about: facts of the data that are kept beside a generator.
    known: what rivals may know of the training items.
  """

  family: TaskFamily
  frozen: Params
  digest: str
  backbone: str | None
  suite: Suite
  versions: Any
  about: dict[str, Any]
  known: Any = None


class Rivals(NamedTuple):
  """What generators are compared with.

  Attributes:
    tunable: methods whose settings are chosen on validation tasks.
    given: what those are made from beside their settings.
    fixed: methods that have none.
  """

  tunable: tuple[Tunable, ...]
  given: Any
  fixed: tuple[Method, ...]


class Use(NamedTuple):
  """A use of the method.

  Attributes:
    load: `load(config) → data`, with a `name`, a `digest` of its content, and the names
      of its `classes`.
    check: `check(config, data)` raises `InputError` before any work is done if the sets
      do not suffice.
    prepare: `prepare(config, data, seed, workdir, timed) → Prepared`; reads or trains.
    rivals: `rivals(config, prepared) → Rivals`.
    examples: `examples(config, data, prepared, methods, key) → arrays` for the report,
      of answers of `methods`, the main generator's the first.
    evaluate: in place of `pipeline.evaluation.evaluate`, with its arguments; None: that.
  """

  load: Callable[[Config], Any]
  check: Callable[[Config, Any], None]
  prepare: Callable[[Config, Any, int, Path, Stage], Prepared]
  rivals: Callable[[Config, Prepared], Rivals]
  examples: Callable[..., Arrays]
  evaluate: Callable[..., list[dict[str, Any]]] | None = None


def cache(setting: str, default: Path) -> Path:
  """The directory that a setting names, or a place in the workdir."""
  return files.as_path(setting) if setting else default
