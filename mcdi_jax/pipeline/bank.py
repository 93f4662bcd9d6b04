"""The banks of prepared tasks, one for each form of task that needs one of its own."""

import dataclasses
import functools

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.meta import TaskSource, task_source
from mcdi_jax.networks import head
from mcdi_jax.networks.head import CLASS_AXES
from mcdi_jax.pipeline.config import Config
from mcdi_jax.preparation import Bank, open_bank, prepare_task
from mcdi_jax.preparation.bank import bank_key


def prepare_banks(
  config: Config,
  versions: ClassSet,
  features: ClassSet,
  backbone_digest: str,
  directory: Path,
) -> TaskSource:
  """Tasks of all forms.

  Tasks prepared on all drawings do not depend on the shots and are shared between them.
  A bank's directory is named by a hash of what determines its content.

  Args:
    versions: of the training classes' features, x [n, V, D], to prepare on.
    features: of the same, x [n, D], to draw supports from.
  """
  made: dict[str, Bank] = {}
  banks = []
  for form in config.forms:
    shots = 0 if config.preparation.prepare_on == "all" else form.shots
    network = head(features.x.shape[-1], form.ways, scale=config.preparation.init_scale)
    prepare = functools.partial(
      prepare_task,
      network=network,
      config=config.preparation,
      ways=form.ways,
      shots=shots,
      targets=config.diffusion.segments,
    )
    content = {
      "backbone": backbone_digest,
      "matmul_precision": config.matmul_precision,
      "network": "head",
      "ways": form.ways,
      "shots": shots,
      "targets": config.diffusion.segments,
      "preparation": dataclasses.asdict(config.preparation),
    }
    digest = content_hash(content)[:16]
    if digest not in made:
      made[digest] = open_bank(
        directory / digest,
        prepare,
        versions,
        content,
        seed=config.preparation.seed,
        tasks=config.preparation.tasks,
        shard_tasks=config.preparation.shard_tasks,
        title=f"bank of {form.ways}-way tasks",
      )
    banks.append(made[digest])
  forms = [(form.ways, form.shots) for form in config.forms]
  return task_source(forms, banks, features, bank_key(config.preparation.seed), CLASS_AXES)
