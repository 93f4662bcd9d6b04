"""The banks of prepared tasks, one for each form of task that needs one of its own."""

import dataclasses
import functools

from mcdi_jax.data import ClassSet
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.meta import TaskSource
from mcdi_jax.meta.batch import as_arrays
from mcdi_jax.networks import head
from mcdi_jax.pipeline.config import Config
from mcdi_jax.preparation import Bank, open_bank, prepare_task
from mcdi_jax.preparation.bank import bank_key


def prepare_banks(
  config: Config,
  versions: ClassSet,
  features: ClassSet,
  backbone_digest: str,
  directory: Path,
) -> dict[tuple[int, int], TaskSource]:
  """(ways, shots) → tasks of that form.

  Tasks prepared on all drawings do not depend on the shots and are shared between them.
  A bank's directory is named by a hash of what determines its content.

  Args:
    versions: of the training classes' features, x [n, V, D], to prepare on.
    features: of the same, x [n, D], to draw supports from.
  """
  banks: dict[str, Bank] = {}
  sources = {}
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
    if digest not in banks:
      banks[digest] = open_bank(
        directory / digest,
        prepare,
        versions,
        content,
        seed=config.preparation.seed,
        tasks=config.preparation.tasks,
        shard_tasks=config.preparation.shard_tasks,
        title=f"bank of {form.ways}-way tasks",
      )
    key = bank_key(config.preparation.seed)
    source = TaskSource(banks[digest], features, key)
    sources[form.ways, form.shots] = as_arrays(source)
  return sources
