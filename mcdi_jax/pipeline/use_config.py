"""The settings that belong to one use each."""

import dataclasses
from typing import Literal

from mcdi_jax.data.distortions import check_distortions
from mcdi_jax.families import Features
from mcdi_jax.lib.config import check


@dataclasses.dataclass(frozen=True)
class FieldsConfig:
  """The network that holds an image, in `fields`.

  Attributes:
    frequencies: of the Fourier features, a sine and a cosine each.
    bandwidth: their sd, in periods over the image.
    hidden: units.
  """

  frequencies: int = 64
  bandwidth: float = 4.0
  hidden: int = 12

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      check(value > 0, f"config.fields.{name}", value, "give a positive number")


@dataclasses.dataclass(frozen=True)
class BaseTrainingConfig:
  """How a language model is made familiar with documents before any adapter is.

  Attributes:
    steps: 0: it stays as it was given.
    rate: of Adam, at its highest.
    batch, length: runs of tokens a step, and tokens of each.
    save_every: steps between two checkpoints.
  """

  steps: int = 1500
  rate: float = 1e-3
  batch: int = 8
  length: int = 256
  save_every: int = 500

  def __post_init__(self):
    where = "config.documents.training"
    check(self.steps >= 0, f"{where}.steps", self.steps, "give at least 0")
    for name in ("rate", "batch", "length", "save_every"):
      value = getattr(self, name)
      check(value > 0, f"{where}.{name}", value, "give a positive number")


@dataclasses.dataclass(frozen=True)
class DocumentsConfig:
  """Low-rank adapters of a language model, in `documents`.

  Attributes:
    base: folder of the model, in the Hugging Face layout, with its `tokenizer.json`.
    training: of the model, on half of the training documents.
    rank: of the adapters.
    adapted: pattern of the adapted matrices' paths.
    adapt_a: whether A is adapted, too, and not B alone.
    window: tokens of a window; `meta.shots` of them are a support, and the next
      `evaluation.queries` are asked.
    view: tokens before a query that are seen in further tests; 0: there are none.
  """

  base: str = ""
  training: BaseTrainingConfig = BaseTrainingConfig()
  rank: int = 4
  adapted: str = "blocks/*/[qkvogud]*"
  adapt_a: bool = False
  window: int = 128
  view: int = 0

  def __post_init__(self):
    check(self.window > 0, "config.documents.window", self.window, "give at least 1")
    check(self.view >= 0, "config.documents.view", self.view, "give at least 0")


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
  """Heads on an encoder's features, in `features`.

  Attributes:
    unit_length: whether features are divided by their length, before a task's are taken
      about the support's mean.
    domains: of the source's, those whose tasks are trained and validated on; empty: all.
    across: of the domains that are trained on, how many a task's support is of, where its
      queries are of another one, for the query loss and validation; 0: a task is of one.
    project: directions of the largest second moments of the training features, in which
      the bank is made and a generator is trained on its weights; 0: all dimensions. It is
      trained on the query loss, and tested, in all.
    targets: `.npz` files of features of whole sets that are tested on, one set a domain
      where a file has several; beside them the source's own test classes.
    shots: labelled items a class of a target's supports.
    ways: of each number of shots, classes that are drawn anew for each support; 0, or
      empty: all of the target's at once.
    supports: how many supports of each number of shots, the same for all methods; of more
      than ten classes fewer, in proportion, as each has more queries, and 2 at least. The
      same holds of the validation tasks that rivals are tuned on.
    queries: of each class of a target, at most; all others than the support's if it has
      fewer.
    ready: generators of heads on features that are there already, by name or directory:
      each is compared with the others.
  """

  unit_length: bool = True
  domains: tuple[str, ...] = ()
  across: int = 0
  project: int = 256
  targets: tuple[str, ...] = ()
  shots: tuple[int, ...] = (1, 5, 20)
  ways: tuple[int, ...] = ()
  supports: tuple[int, ...] = (600, 600, 100)
  queries: int = 100
  ready: tuple[str, ...] = ()

  def __post_init__(self):
    where, project, across = "config.features", self.project, self.across
    check(across >= 0, f"{where}.across", across, "give at least 0; 0 is within a domain")
    check(project >= 0, f"{where}.project", project, "give at least 0; 0 is all")
    shots, remedy = self.shots, "give numbers of at least 1"
    check(min(shots, default=0) >= 1, f"{where}.shots", shots, remedy)
    fit = min(self.supports, default=0) >= 2 and len(shots) == len(self.supports)
    remedy = "give as many as config.features.shots, each at least 2"
    check(fit, f"{where}.supports", self.supports, remedy)
    ways, remedy = self.ways, "give as many as config.features.shots, each 0 or at least 2"
    fit = not ways or len(ways) == len(shots)
    fit = fit and all(n == 0 or n >= 2 for n in ways)
    check(fit, f"{where}.ways", ways, remedy)
    most = Features.most_ways
    remedy = f"weights are generated for up to {most} classes, lower it"
    check(max(ways, default=0) <= most, f"{where}.ways", ways, remedy)
    check(self.queries >= 1, f"{where}.queries", self.queries, "give at least 1")


@dataclasses.dataclass(frozen=True)
class DomainsConfig:
  """A domain that is left out, in `domains`: heads on features, as in `features`, which
  `config.features` says more of.

  Attributes:
    leave_out: the domain of `config.data.path` that is tested on; all others are sources.
      Empty: the file is the source, and `config.features.targets` names the target's.
    validation: share of each source domain that settings are chosen on, and that no method
      is given.
    members: supports, disjoint while the items last, whose generated heads are averaged in
      the rows `NAME_averaged`; 0: no such rows.
    shots: of each of these, items a class and source domain.
    adapters: a generator of adapters, for images: heads are on the features of its encoder
      as it is, and what it makes inside is a row. Empty: the items are features.
  """

  leave_out: str = ""
  adapters: str = ""
  validation: float = 0.2
  members: int = 16
  shots: int = 10

  def __post_init__(self):
    where, share = "config.domains", self.validation
    check(0 < share < 1, f"{where}.validation", share, "give a share between 0 and 1")
    check(self.members >= 0, f"{where}.members", self.members, "give at least 0")
    check(self.shots >= 1, f"{where}.shots", self.shots, "give at least 1")


@dataclasses.dataclass(frozen=True)
class AdaptersConfig:
  """Scales and shifts inside the backbone of `config.backbone`, in `adapters`; what they
  are tested on `config.features` says (targets, shots, ways, supports, queries).

  Attributes:
    distort: names of distortions (`data/distortions.py`) or several joined by +, each a
      further domain whose tasks are trained and validated on.
    beside: an `.npz` of images with domains; tasks of these are trained on, too.
    leave_out: the domain of `beside` that is not, and the only one of it that is tested.
    distorted_per_class: images of each class that are distorted, in each way.
    closed_form: of the head on the adapted features: `prototypes`, `ridge`, `ridge_loo`.
    statistics: share of the support's own statistics in the encoder that the condition is
      of, and in the base `renormalised`.
  """

  distort: tuple[str, ...] = ()
  distorted_per_class: int = 40
  beside: str = ""
  leave_out: str = ""
  closed_form: Literal["prototypes", "ridge", "ridge_loo"] = "prototypes"
  statistics: float = 0.0

  def __post_init__(self):
    setting, share = "config.adapters.statistics", self.statistics
    check(0 <= share <= 1, setting, share, "give a share from 0 to 1")
    setting, number = "config.adapters.distorted_per_class", self.distorted_per_class
    check(number >= 1, setting, number, "give at least 1")
    check_distortions(self.distort, "config.adapters.distort")
    both, remedy = bool(self.beside) == bool(self.leave_out), "give both, or neither"
    check(both, "config.adapters.leave_out", self.leave_out, f"with beside {remedy}")


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """The classifier whose weights are generated, in `networks`.

  Attributes:
    width: channels of each block of its conv-4.
  """

  width: int = 32

  def __post_init__(self):
    check(self.width >= 1, "config.networks.width", self.width, "give at least 1")


@dataclasses.dataclass(frozen=True)
class SentencesConfig:
  """Low-rank adapters inside a sentence encoder, with heads, in `sentences`; what they are
  tested with `config.features` says (shots, ways, supports, queries).

  Attributes:
    base: folder of a BERT or RoBERTa checkpoint in the Hugging Face layout.
    held_out: tasks of `config.data.path` that are tested on.
    validation: those that settings are chosen on; all others are trained on.
    rank: of the adapters.
    adapted: patterns of the paths of the matrices that have them.
    length: tokens of a text; the rest is left out.
    closed_form: of the head on the adapted features: `prototypes`, `ridge`, `ridge_loo`.
  """

  base: str = ""
  held_out: tuple[str, ...] = ()
  validation: tuple[str, ...] = ()
  rank: int = 4
  adapted: str = "blocks/*/qkv/[02]/kernel"
  length: int = 64
  closed_form: Literal["prototypes", "ridge", "ridge_loo"] = "prototypes"

  def __post_init__(self):
    where = "config.sentences"
    check(self.rank >= 1, f"{where}.rank", self.rank, "give at least 1")
    check(self.length >= 3, f"{where}.length", self.length, "give at least 3")
    both = sorted({*self.held_out} & {*self.validation})
    remedy = f"{both} are held out, too, name others"
    check(not both, f"{where}.validation", self.validation, remedy)
