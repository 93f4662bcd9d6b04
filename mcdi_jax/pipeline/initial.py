"""θ_0, where it is trained: cached under a hash of what determines it."""

from collections.abc import Callable
from typing import Any

from mcdi_jax.families import TaskFamily, family_to_json
from mcdi_jax.lib import files
from mcdi_jax.lib.checkpoint import Checkpoints, is_finished, load_tree, save_tree
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.loop import train
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.meta import initial_training
from mcdi_jax.networks import Params
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.use import Stage, cache


def prepare_frozen(
  config: Config,
  family: TaskFamily,
  data: str,
  items: Callable[[Params], Any],
  workdir: Path,
  timed: Stage,
) -> tuple[Params, str]:
  """What all tasks share, by the bank's seed, so that all seeds have one bank: drawn, and
  its θ_0 trained where `config.initial.steps` says so.

  Args:
    data: digest of it.
    items: `items(frozen)`, of the training split, embedded.

  Returns:
    The frozen params, and the hash of what determines them.
  """
  seed = config.preparation.seed
  frozen = family.init_frozen(key_for(seed, "frozen part"))
  content = {"family": family_to_json(family), "data": data, "seed": seed}
  if not config.initial.steps:
    return frozen, content_hash(content)
  content |= {"initial": config.initial, "matmul_precision": config.matmul_precision}
  digest = content_hash(content)
  place = cache(config.backbone_dir, workdir / "backbone") / digest[:16]
  with timed("θ_0"), files.exclusive(place, wait=True):
    if is_finished(place / "init"):
      CONSOLE.print(f"θ_0: found in {place}")
      return {**frozen, "init": load_tree(place / "init", frozen["init"])}, digest
    metrics = workdir / "metrics.jsonl"
    init, step = initial_training(family, config.initial)
    given = items(frozen)
    state = train(
      lambda state, key: step(state, key, frozen, given),
      init(frozen),
      key_for(seed, "training of θ_0"),
      steps=config.initial.steps,
      title="θ_0",
      write=lambda line: files.append_json(metrics, {"phase": "θ_0", **line}),
      checkpoints=Checkpoints(place / "checkpoints"),
      save_every=config.initial.save_every,
      remedy="lower config.initial.inner_rate or config.initial.rate and name another "
      "--workdir, as one belongs to one config",
    )
    save_tree(place / "init", state.ema)
  return {**frozen, "init": state.ema}, digest
