"""The settings of a run, and the checks that need more than one group of them."""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

from mcdi_jax.data import ClassSet, DataConfig, Splits
from mcdi_jax.diffusion import DiffusionConfig, alphas
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.families import Heads, TaskFamily
from mcdi_jax.families.heads import check_image_shape
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import FinishingConfig, MetaConfig
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.preparation import PreparationConfig
from mcdi_jax.tasks import Protocol, check_protocol


class Recipe(NamedTuple):
  """How a generator is made.

  Attributes:
    algorithm: REPTILE or single level on the local consistency loss, or the query loss.
    base: of the generated weights.
    starts_from: the generator that it is trained on from; empty: from scratch.
    chain: what its chain makes of the configured one.
  """

  algorithm: Literal["reptile", "single_level", "query_loss"]
  base: Literal["none", "prototypes"] = "none"
  starts_from: str = ""
  chain: Callable[[DiffusionConfig], DiffusionConfig] = lambda diffusion: diffusion


def one_step(diffusion: DiffusionConfig) -> DiffusionConfig:
  """The same network as a hypernetwork: its first estimate is the result."""
  return DiffusionConfig(steps=1, segments=1, schedule="linear_auto", form=diffusion.form)


def one_segment(diffusion: DiffusionConfig) -> DiffusionConfig:
  """Vanilla diffusion: the last target alone. There is nothing to hand over."""
  return dataclasses.replace(diffusion, segments=1, handover=0.0)


def naive_targets(diffusion: DiffusionConfig) -> DiffusionConfig:
  """Every target as if it were the last one; sampled as with one segment."""
  sampler = diffusion.sampler_name
  return dataclasses.replace(one_segment(diffusion), objective="naive", sampler=sampler)


GENERATORS = {
  "generated": Recipe("reptile"),
  "generated_single_level": Recipe("single_level"),
  "generated_delta": Recipe("reptile", base="prototypes"),
  "generated_finished": Recipe("query_loss", starts_from="generated"),
  "hypernetwork": Recipe("query_loss", chain=one_step),
  "k1": Recipe("reptile", chain=one_segment),
  "naive_targets": Recipe("reptile", chain=naive_targets),
}


@dataclasses.dataclass(frozen=True)
class Config:
  """All settings of `launch.run`.

  Attributes:
    generators: which to train and compare, the main one first: `generated` (REPTILE),
      `generated_single_level` (equally many draws), `generated_delta` (REPTILE, as a
      difference from the prototype head), `generated_finished` (`generated`, trained on
      by the query loss), `hypernetwork` (the same network at T = 1, by the query loss),
      `k1` (vanilla diffusion: the last of the bank's targets, one segment),
      `naive_targets` (all of them, each as the end of the whole chain).
    seeds: each trains a backbone, and every generator on it, once.
    gauge: whether the mean over classes is removed from weights and noise.
    backbone_dir, bank_dir: where backbones and banks are cached, to be shared between
      runs; default: inside the workdir.
    matmul_precision: of float32 matmuls; GPU and TPU are faster with `default`.
  """

  data: DataConfig = DataConfig()
  backbone: BackboneConfig = BackboneConfig()
  preparation: PreparationConfig = PreparationConfig()
  diffusion: DiffusionConfig = DiffusionConfig()
  score: ScoreConfig = ScoreConfig()
  meta: MetaConfig = MetaConfig()
  finishing: FinishingConfig = FinishingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  generators: tuple[str, ...] = ("generated",)
  seeds: tuple[int, ...] = (0,)
  gauge: bool = True
  backbone_dir: str = ""
  bank_dir: str = ""
  matmul_precision: Literal["highest", "high", "default"] = "highest"

  def __post_init__(self):
    for name in self.generators:
      check(name in GENERATORS, "config.generators", name, f"it has {sorted(GENERATORS)}")
    distinct = len(set(self.generators)) == len(self.generators)
    first = distinct and self.generators[:1] == ("generated",)
    remedy = "name each once, 'generated' first: the others are compared with it"
    check(first, "config.generators", self.generators, remedy)
    distinct = 0 < len(self.seeds) == len(set(self.seeds))
    check(distinct, "config.seeds", self.seeds, "give one or more different seeds")
    kept = self.preparation.prepare_on == "all" or self.meta.support == "kept"
    remedy = f"tasks prepared on their {self.preparation.prepare_on} need 'kept'"
    check(kept, "config.meta.support", self.meta.support, remedy)
    self.preparation.recorded_steps(self.diffusion.segments)
    alphas(self.diffusion)

  @property
  def forms(self) -> list[Protocol]:
    """The forms of task that are trained, validated and tested."""
    queries = self.evaluation.queries
    return [Protocol(n, k, queries) for n in self.meta.ways for k in self.meta.shots]


def task_family(config: Config, image_shape: tuple[int, ...]) -> TaskFamily:
  """The use that a config is of."""
  return Heads(
    ways=config.meta.ways,
    shots=config.meta.shots,
    image_shape=image_shape,
    width=config.backbone.width,
  )


def check_data(config: Config, splits: Splits) -> None:
  """Raises `InputError` before any work is done if the sets are too small."""
  turns = 4 if config.data.rotations else 1
  height, width, _ = splits.image_shape
  check_image_shape(splits.image_shape)
  if turns > 1 and height != width:
    raise InputError(
      f"the images are {height}×{width}: only square ones can be turned, so set "
      "config.data.rotations to False"
    )
  for form in config.forms:
    check_protocol(splits.val, form, "val")
    check_protocol(splits.test, form, "test")
    check_protocol(splits.train, form._replace(queries=_training_queries(config)), "train")
  _check_episode(config.backbone, splits.train, turns)


def _training_queries(config: Config) -> int:
  """Queries a class that preparation or the query loss needs beside the support."""
  preparation, finishing = config.preparation, config.finishing
  query_loss = any(GENERATORS[g].algorithm == "query_loss" for g in config.generators)
  return max(
    preparation.queries if preparation.prepare_on == "support_and_query" else 0,
    finishing.queries if query_loss else 0,
  )


def _check_episode(backbone: BackboneConfig, items: ClassSet, turns: int) -> None:
  classes, smallest = turns * items.classes, int(items.count.min())
  remedy = f"the train split has {classes} classes: lower it"
  check(backbone.ways <= classes, "config.backbone.ways", backbone.ways, remedy)
  remedy = f"a class of the train split has {smallest} images: lower it"
  fits = backbone.drawings <= smallest
  check(fits, "config.backbone.drawings", backbone.drawings, remedy)
