"""The banks of prepared tasks, one for each form of task that needs one of its own."""

import dataclasses
import functools
from typing import Any

import jax

from mcdi_jax.families import TaskFamily
from mcdi_jax.lib import files
from mcdi_jax.lib.config import check, content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import TaskSource, task_source
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.use import Prepared
from mcdi_jax.pipeline.windows import Windows, windows_of
from mcdi_jax.preparation import (
  Bank,
  PreparationConfig,
  Shards,
  Trajectory,
  open_bank,
  prepare_task,
  read_bank,
)
from mcdi_jax.preparation.bank import bank_key
from mcdi_jax.tasks import Form
from mcdi_jax.weights import aligned_trajectories, leaves_by_path

_FORMAT = 2  # of the shards
_PERIOD = 100  # steps that a window of a bank too large for the memory stays


def prepare_banks(
  config: Config, prepared: Prepared, directory: Path
) -> Windows[TaskSource]:
  """Tasks of all forms.

  Tasks prepared on all drawings do not depend on the shots and are shared between them.
  A bank's directory is named by a hash of what determines its content.
  """
  family = prepared.family
  if config.imported_bank:
    return _imported(config, prepared)
  made: dict[str, Shards] = {}
  banks = []
  forms = [Form(protocol.ways, protocol.shots) for protocol in config.forms]
  targets = config.diffusion.segments
  for form in forms:
    shots = 0 if config.preparation.prepare_on == "all" else form.shots
    own = Form(form.ways, shots)
    prepare = functools.partial(_prepare, family, config.preparation, own, targets)
    content = {
      "format": _FORMAT,
      "frozen": prepared.digest,
      "matmul_precision": config.matmul_precision,
      "family": family.name,
      "ways": form.ways,
      "shots": shots,
      "targets": targets,
      "preparation": dataclasses.asdict(config.preparation),
    }
    digest = content_hash(content)[:16]
    if digest not in made:
      made[digest] = open_bank(
        directory / digest,
        prepare,
        (prepared.frozen, prepared.versions),
        content,
        seed=config.preparation.seed,
        tasks=config.preparation.tasks,
        shard_tasks=config.preparation.shard_tasks,
        title=f"bank of {form.ways}-way tasks" if family.classifies else "bank",
      )
    banks.append(list(made).index(digest))
  key, shards = bank_key(config.preparation.seed), list(made.values())
  windows = windows_of(shards, config.bank_bytes)

  def window(n: int) -> TaskSource:
    found = [bank.read(which) for bank, which in zip(shards, windows[n], strict=True)]
    if config.align:
      found = [(_aligned(bank, prepared), numbers) for bank, numbers in found]
    own = [found[place] for place in banks]
    parts, numbers = zip(*own, strict=True)
    suite = prepared.suite
    given = (family, forms, parts, suite.train, key, numbers, suite.query_train)
    return task_source(*given)

  if len(windows) > 1:
    CONSOLE.print(
      f"the bank is larger than config.bank_bytes: {len(windows)} windows of it take turns"
    )
  return Windows(window, len(windows), _PERIOD)


def _aligned(bank: Bank, prepared: Prepared) -> Bank:
  reference, hidden = prepared.frozen["init"], prepared.family.hidden_layers
  return bank._replace(weights=aligned_trajectories(bank.weights, reference, hidden))


def _imported(config: Config, prepared: Prepared) -> Windows[TaskSource]:
  """Checkpoints that existed already, for all forms of task."""
  setting, place = "config.imported_bank", config.imported_bank
  bank, _ = read_bank(files.as_path(place))
  family, form = prepared.family, config.forms[0]
  check(len(config.forms) == 1, setting, place, "train for one number of ways and shots")
  given = family.example(Form(form.ways, form.shots)).x

  def params(frozen: Any) -> Any:
    return family.init(frozen, jax.random.key(0), family.embed(frozen, given), form.ways)

  shapes = jax.eval_shape(params, prepared.frozen)
  expected = {path: leaf.shape for path, leaf in leaves_by_path(shapes).items()}
  found = {path: leaf.shape[2:] for path, leaf in leaves_by_path(bank.weights).items()}
  if found != expected:
    raise InputError(
      f"{setting} {place} is a bank of another network: its leaves are {found}, those of "
      f"{family.name} {expected}"
    )
  draw = lambda key, items: family.draw_task(key, items, form.ways)  # noqa: E731
  task = jax.eval_shape(draw, jax.random.key(0), prepared.suite.train)
  drawn = jax.tree.map(lambda leaf: leaf.shape, task)
  told = jax.tree.map(lambda leaf: leaf.shape[1:], bank.tasks)
  if told != drawn:
    raise InputError(
      f"{setting} {place} has tasks of shape {told}, those of {family.name} are {drawn}: "
      "name them with launch.bank --tasks"
    )
  targets = jax.tree.leaves(bank.weights)[0].shape[1]
  remedy = f"set it to the {targets} targets of config.imported_bank"
  segments = config.diffusion.segments
  check(segments <= targets, "config.diffusion.segments", segments, remedy)
  own = Form(form.ways, form.shots)
  key = bank_key(config.preparation.seed)
  bank = _aligned(bank, prepared) if config.align else bank
  suite = prepared.suite
  parts = (family, [own], [bank], suite.train, key)
  source = task_source(*parts, query_items=suite.query_train)
  return Windows(lambda _: source, 1, _PERIOD)


def _prepare(
  family: TaskFamily,
  config: PreparationConfig,
  form: Form,
  targets: int,
  key: Any,
  frozen_and_items: tuple[Any, Any],
) -> tuple[Any, Trajectory]:
  frozen, items = frozen_and_items
  return prepare_task(key, items, frozen, family, config, form=form, targets=targets)
