"""The settings of a run, and the checks that need more than one group of them."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from mcdi_jax.data import DataConfig
from mcdi_jax.diffusion import DiffusionConfig, alphas
from mcdi_jax.evaluation import EvaluationConfig
from mcdi_jax.families import Adapters, Features, Fields, Heads, Networks, TaskFamily
from mcdi_jax.generator import ScoreConfig
from mcdi_jax.lib.config import check
from mcdi_jax.meta import FinishingConfig, InitialConfig, MetaConfig
from mcdi_jax.networks.pretrain import BackboneConfig
from mcdi_jax.pipeline.use_config import (
  AdaptersConfig,
  DocumentsConfig,
  DomainsConfig,
  FeaturesConfig,
  FieldsConfig,
  NetworksConfig,
  SentencesConfig,
)
from mcdi_jax.preparation import PreparationConfig
from mcdi_jax.tasks import Protocol


class Recipe(NamedTuple):
  """How a generator is made.

  Attributes:
    algorithm: REPTILE or single level on the local consistency loss, or the query loss.
    delta: whether generated weights are a difference from `config.delta_base`.
    starts_from: the generator that it is trained on from; empty: from scratch.
    chain: what its chain makes of the configured one.
    iterated: whether it is trained to go on from what it generated, `finishing.passes`
      times.
  """

  algorithm: Literal["reptile", "single_level", "query_loss"]
  delta: bool = False
  starts_from: str = ""
  chain: Callable[[DiffusionConfig], DiffusionConfig] = lambda diffusion: diffusion
  iterated: bool = False


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
  "generated_delta": Recipe("reptile", delta=True),
  "generated_finished": Recipe("query_loss", starts_from="generated"),
  "generated_delta_finished": Recipe(
    "query_loss", delta=True, starts_from="generated_delta"
  ),
  "generated_iterated": Recipe(
    "query_loss", starts_from="generated_finished", iterated=True
  ),
  "hypernetwork": Recipe("query_loss", chain=one_step),
  "hypernetwork_weights": Recipe("reptile", chain=one_step),
  "k1": Recipe("reptile", chain=one_segment),
  "naive_targets": Recipe("reptile", chain=naive_targets),
}


@dataclasses.dataclass(frozen=True)
class Config:
  """All settings of `launch.run`.

  Attributes:
    family: of the tasks: `heads` (few-shot classifiers on a backbone's features),
      `features` (classifiers on an encoder's features, which are given), `domains` (the
      same, tested on a domain that is left out), `fields` (all weights of a network that
      holds an image), `networks` (all weights of a few-shot
      classifier), `adapters` (scales and shifts inside a backbone), `documents` (low-rank
      adapters of a language model), `sentences` (the same of a sentence encoder, with a
      head), `own` (of the config's own file).
    base: that generated weights are a difference from: `none`; `init`, θ_0; or
      `renormalised`, which adapters have.
    delta_base: that those of `generated_delta` are a difference from: `prototypes`, or
      `ridge`, which heads have, or `ridge_loo`, which features have.
    generators: which to train and compare, the main one first: `generated` (REPTILE),
      `generated_single_level` (equally many draws), `generated_delta` (REPTILE, as a
      difference from `delta_base`), `generated_finished` (`generated`, trained on
      by the query loss), `generated_delta_finished` (the same of `generated_delta`),
      `generated_iterated` (`generated_finished`, trained to generate from what it
      generated), `hypernetwork` (the same network at T = 1, by the query loss),
      `hypernetwork_weights` (the same at T = 1, by the weights of the bank),
      `k1` (vanilla diffusion: the last of the bank's targets, one segment),
      `naive_targets` (all of them, each as the end of the whole chain).
    seeds: each trains every generator once; with `heads` on a backbone of its own, unless
      `backbone.shared`. Elsewhere the encoder or θ_0 is one for all, by `preparation.seed`.
    gauge: whether the mean over classes is removed from weights and noise.
    align: whether the hidden units of the bank's networks are put in the order nearest to
      θ_0's, for weights that do not start from one θ_0 (`preparation.shared_init`).
    precondition: ε of the preconditioning of layers: the diffusion's coordinates are
      W (Σ + ε·tr(Σ)/d·I)^½, with Σ [d, d] the second moment of a layer's inputs under θ_0,
      a 1 for the bias among them; 0: the weights themselves.
    backbone_dir, bank_dir: where backbones and banks are cached, to be shared between
      runs; default: inside the workdir.
    bank_bytes: of a bank's files that are held at a time; of a larger one parts take turns.
    imported_bank: one that `launch.bank --import` has made, in place of one that is
      prepared; empty: none.
    matmul_precision: of float32 matmuls; GPU and TPU are faster with `default`.
  """

  family: Literal[
    "heads",
    "features",
    "domains",
    "fields",
    "networks",
    "adapters",
    "documents",
    "sentences",
    "own",
  ] = "heads"
  base: Literal["none", "init", "renormalised"] = "none"
  delta_base: Literal["prototypes", "ridge", "ridge_loo"] = "prototypes"
  data: DataConfig = DataConfig()
  features: FeaturesConfig = FeaturesConfig()
  domains: DomainsConfig = DomainsConfig()
  fields: FieldsConfig = FieldsConfig()
  networks: NetworksConfig = NetworksConfig()
  adapters: AdaptersConfig = AdaptersConfig()
  documents: DocumentsConfig = DocumentsConfig()
  sentences: SentencesConfig = SentencesConfig()
  backbone: BackboneConfig = BackboneConfig()
  initial: InitialConfig = InitialConfig()
  preparation: PreparationConfig = PreparationConfig()
  diffusion: DiffusionConfig = DiffusionConfig()
  score: ScoreConfig = ScoreConfig()
  meta: MetaConfig = MetaConfig()
  finishing: FinishingConfig = FinishingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  generators: tuple[str, ...] = ("generated",)
  seeds: tuple[int, ...] = (0,)
  gauge: bool = True
  align: bool = False
  precondition: float = 0.0
  backbone_dir: str = ""
  bank_dir: str = ""
  bank_bytes: int = 2**31
  imported_bank: str = ""
  matmul_precision: Literal["highest", "high", "default"] = "highest"

  def __post_init__(self):
    for name in self.generators:
      check(name in GENERATORS, "config.generators", name, f"it has {sorted(GENERATORS)}")
    distinct = len(set(self.generators)) == len(self.generators)
    first = distinct and self.generators[:1] == ("generated",)
    remedy = "name each once, 'generated' first: the others are compared with it"
    check(first, "config.generators", self.generators, remedy)
    for n, name in enumerate(self.generators):
      start, remedy = GENERATORS[name].starts_from, "name before it what it starts from"
      there = not start or start in self.generators[:n]
      check(there, "config.generators", self.generators, f"{name}: {remedy}, {start}")
      iterated, remedy = GENERATORS[name].iterated, f"{name} needs it, set it to True"
      has = self.score.gradient or not iterated
      check(has, "config.score.gradient", self.score.gradient, remedy)
    distinct = 0 < len(self.seeds) == len(set(self.seeds))
    check(distinct, "config.seeds", self.seeds, "give one or more different seeds")
    for setting, seeds in (
      ("seeds", self.seeds),
      ("preparation.seed", (self.preparation.seed,)),
      ("evaluation.eval_seed", (self.evaluation.eval_seed,)),
      ("data.split_seed", (self.data.split_seed,)),
    ):
      fit = all(0 <= seed < 2**32 for seed in seeds)
      said = seeds if setting == "seeds" else seeds[0]
      check(fit, f"config.{setting}", said, "give numbers from 0 to 2^32 − 1")
    kept = self.preparation.prepare_on == "all" or self.meta.support == "kept"
    remedy = f"tasks prepared on their {self.preparation.prepare_on} need 'kept'"
    check(kept, "config.meta.support", self.meta.support, remedy)
    of_classes = self.family not in ("fields", "documents", "own")
    ways, least = self.meta.ways, 2 if of_classes else 1
    remedy = f"give numbers of at least {least}"
    check(min(ways, default=0) >= least, "config.meta.ways", ways, remedy)
    for name, field in (("ways", 0), ("shots", 1)):
      left = {form[field] for form in self.forms}
      asked = getattr(self.meta, name)
      remedy = f"of them config.meta.most_items leaves {sorted(left)}, raise it"
      check(set(asked) <= left, f"config.meta.{name}", asked, remedy)
    most, remedy = self.meta.most_items, "only classes have forms to leave out, set it to 0"
    check(of_classes or not most, "config.meta.most_items", most, remedy)
    check(
      self.precondition >= 0, "config.precondition", self.precondition, "give at least 0"
    )
    check(self.bank_bytes > 0, "config.bank_bytes", self.bank_bytes, "give some bytes")
    drawn, steps = self.family in ("heads", "features", "domains"), self.initial.steps
    remedy = "heads have no θ_0 that is trained, set it to 0"
    check(not (drawn and steps), "config.initial.steps", steps, remedy)
    samples, remedy = self.evaluation.samples, "a chain of one step has none, set it to 0"
    chain = self.diffusion.steps > 1 or not samples
    check(chain, "config.evaluation.samples", samples, remedy)
    whole, remedy = (
      self.evaluation.whole_steps,
      "only adapters are in an encoder, set it to ()",
    )
    inside = self.family == "adapters" or not whole
    check(inside, "config.evaluation.whole_steps", whole, remedy)
    turns, remedy = self.score.network == "equivariant", "its symmetry needs plain weights"
    check(
      not (turns and self.precondition),
      "config.precondition",
      self.precondition,
      f"{remedy}, set it to 0 or config.score.network to another than 'equivariant'",
    )
    self.preparation.recorded_steps(self.diffusion.segments)
    alphas(self.diffusion)

  @property
  def forms(self) -> list[Protocol]:
    """The forms of task that are trained, validated and tested."""
    queries, most = self.evaluation.queries, self.meta.most_items
    forms = [Protocol(n, k, queries) for n in self.meta.ways for k in self.meta.shots]
    return [form for form in forms if not most or form.ways * form.shots <= most]


def task_family(config: Config, image_shape: tuple[int, ...]) -> TaskFamily:
  """The use that a config is of."""
  forms: dict[str, Any] = {"ways": config.meta.ways, "shots": config.meta.shots}
  if config.family == "fields":
    numbers = dataclasses.asdict(config.fields)
    return Fields(image_shape=image_shape, **forms, **numbers)
  forms["most_items"] = config.meta.most_items
  if config.family in ("features", "domains"):
    forms |= {name: getattr(config.features, name) for name in ("unit_length", "across")}
    return Features(width=image_shape[0], **forms)
  if config.family == "adapters":
    chosen = config.backbone.architecture._asdict()
    names = ("closed_form", "statistics")
    chosen |= {name: getattr(config.adapters, name) for name in names}
    return Adapters(image_shape=image_shape, **chosen, **forms)
  if config.family == "networks":
    return Networks(image_shape=image_shape, width=config.networks.width, **forms)
  names = ("network", "width", "widths", "unit_length")
  own = {name: getattr(config.backbone, name) for name in names}
  return Heads(image_shape=image_shape, **own, **forms)
