"""Pretraining of a backbone on the meta-train classes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from optax.contrib import MuonDimensionNumbers, muon

from mcdi_jax.data import ClassSet
from mcdi_jax.data.augment import cropped, flipped, jittered, warp
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.lib.config import check, chosen
from mcdi_jax.lib.provenance import platform_used
from mcdi_jax.networks.backbones import Architecture, Kind, architecture
from mcdi_jax.networks.network import Params
from mcdi_jax.networks.normalised import Normalised, fresh_statistics
from mcdi_jax.networks.objectives import Objective, classification, episodes
from mcdi_jax.tasks import sample_classes, sample_support


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """The backbone and its pretraining.

  Attributes:
    width: channels of each block of conv4.
    steps: episodes, or batches.
    ways: classes of a step.
    drawings: images of each class; in an episode every one takes its turn as the 1-shot
      support of all others, so that it counts `drawings` times.
    warp: share of the images that are slightly turned, scaled, sheared and shifted.
    group: images that are normalised together; divides ways · drawings.
    rate: peak rate of Muon on the kernels (Jordan et al. 2024); gains and biases take
      Adam at a tenth of it. Both rise for a hundred steps (a tenth
      of them all, if that is less) and fall to 0 along a cosine.
    statistics_memory: decay of the running mean of the batch statistics.
    network: `conv4`, or `resnet12`.
    widths: channels of the four blocks of resnet12.
    unit_length: whether heads get features that are divided by their length.
    objective: prototypical `episodes`, or `classification`: a linear classifier of all
      training classes.
    label_smoothing: share of a label that classification spreads over all classes.
    flip: whether one image in two is turned left to right.
    crop: pixels by which an image is shifted at most, with zeros behind it.
    jitter: by how much brightness, contrast and saturation change at most.
    validate_every: steps between two looks at the validation classes; 0: none.
    shared: whether all seeds have the backbone of the bank's (`preparation.seed`), so that
      they differ in the generator alone; else each trains its own.
  """

  width: int = 64
  steps: int = 8000
  ways: int = 60
  drawings: int = 6
  warp: float = 0.7
  group: int = 15
  rate: float = 0.03
  statistics_memory: float = 0.98
  network: Kind = "conv4"
  widths: tuple[int, ...] = (16, 32, 64, 128)
  unit_length: bool = False
  objective: Literal["episodes", "classification"] = "episodes"
  label_smoothing: float = 0.1
  flip: bool = False
  crop: int = 0
  jitter: float = 0.0
  validate_every: int = 0
  shared: bool = False

  def __post_init__(self):
    where = "config.backbone"
    least = {"width": 1, "steps": 1, "ways": 2, "drawings": 2, "group": 1}
    for name, number in {**least, "crop": 0, "validate_every": 0}.items():
      value = getattr(self, name)
      check(value >= number, f"{where}.{name}", value, f"give at least {number}")
    fit = len(self.widths) == 4 and min(self.widths) >= 1
    check(fit, f"{where}.widths", self.widths, "give four numbers of at least 1")
    check(0 <= self.warp <= 1, f"{where}.warp", self.warp, "give a share from 0 to 1")
    for name in ("label_smoothing", "jitter"):
      value = getattr(self, name)
      check(0 <= value < 1, f"{where}.{name}", value, "give a share from 0 to below 1")
    check(self.rate > 0, f"{where}.rate", self.rate, "give a positive rate")
    images = self.ways * self.drawings
    remedy = f"it must divide the {images} images of a step (ways · drawings)"
    check(images % self.group == 0, f"{where}.group", self.group, remedy)

  @property
  def architecture(self) -> Architecture:
    return architecture(self.network, self.width, self.widths)

  def content(self) -> dict[str, Any]:
    """What determines a backbone; settings that are newer than backbones that may be on
    disk are left out at their default."""
    own, newer = dataclasses.asdict(self), _NEWER - chosen(self).keys()
    return {n: value for n, value in own.items() if n not in newer | _OF_RUNS}


_OF_RUNS = frozenset(("validate_every", "shared"))
_NEWER = frozenset(
  (
    "network",
    "widths",
    "unit_length",
    "objective",
    "label_smoothing",
    "flip",
    "crop",
    "jitter",
  )
)


class PretrainState(NamedTuple):
  step: Any
  params: Params
  opt_state: Any


def pretraining(
  network: Normalised, config: BackboneConfig, images: ClassSet
) -> tuple[Callable[..., PretrainState], Callable[..., Any]]:
  """`init(key) → state` and the jitted `step(state, key, images) → (state, metrics)`.

  Metrics: `loss` (cross-entropy) and `accuracy` in percent, in training.

  Args:
    images: for their shapes alone.
  """
  optimiser, objective = _optimiser(config), _objective(network, config, images)

  def init(key: Key[Array, ""]) -> PretrainState:
    weights = objective.init(key)
    statistics = fresh_statistics(objective.backbone(weights))
    params = {"weights": weights, "statistics": statistics}
    return PretrainState(jnp.int32(0), params, optimiser.init(weights))

  @jax.jit(donate_argnames="state")
  def step(state: PretrainState, key: Key[Array, ""], images: ClassSet) -> Any:
    key = jax.random.fold_in(key, state.step)
    weights, statistics = state.params["weights"], state.params["statistics"]
    value, gradient = objective.gradient(weights, key, images)
    updates, opt_state = optimiser.update(gradient, state.opt_state, weights)
    mean_loss, (seen, accuracy) = value
    params = {
      "weights": optax.apply_updates(weights, updates),
      "statistics": optax.incremental_update(
        seen, statistics, 1 - config.statistics_memory
      ),
    }
    metrics = {"loss": mean_loss, "accuracy": 100 * accuracy}
    return PretrainState(state.step + 1, params, opt_state), metrics

  return init, step


def pretrained(state: PretrainState, config: BackboneConfig) -> Params:
  """The params of the backbone, as `with_statistics` takes them."""
  weights, statistics = state.params["weights"], state.params["statistics"]
  weights = weights["network"] if config.objective == "classification" else weights
  return {"weights": weights, "statistics": statistics}


def _objective(network: Normalised, config: BackboneConfig, images: ClassSet) -> Objective:
  def draw(key: Key[Array, ""], images: ClassSet) -> tuple[Array, Array, Array]:
    k_classes, k_items, k_change, k_order = jax.random.split(key, 4)
    classes = sample_classes(k_classes, images, config.ways)
    x = to_unit(sample_support(k_items, images, classes, config.drawings).x)
    order = jax.random.permutation(k_order, len(x))
    return _changed(x, k_change, config), classes, order

  if config.objective == "episodes":
    return episodes(network, draw, config.group)
  image = jax.ShapeDtypeStruct((1, *images.x.shape[1:]), jnp.float32)
  of_one = lambda x: network.apply_own(network.init(jax.random.key(0)), x)[0]  # noqa: E731
  about = {"width": jax.eval_shape(of_one, image).shape[-1], "classes": images.classes}
  smoothing = config.label_smoothing
  return classification(network, draw, config.group, smoothing=smoothing, **about)


def _changed(
  x: Float[Array, "n h w c"], key: Key[Array, ""], config: BackboneConfig
) -> Float[Array, "n h w c"]:
  """With the changes that are asked for, each image its own."""
  k_changes = key
  if config.warp:
    k_which, k_warp = jax.random.split(key)
    k_changes = jax.random.fold_in(key, 2)  # 0 and 1 are those above
    chosen = jax.random.bernoulli(k_which, config.warp, (len(x), 1, 1, 1))
    x = jnp.where(chosen, jax.vmap(warp)(x, jax.random.split(k_warp, len(x))), x)
  changes = (
    (config.flip, flipped),
    (config.crop, functools.partial(cropped, pad=config.crop)),
    (config.jitter, functools.partial(jittered, amount=config.jitter)),
  )
  for number, (asked, change) in enumerate(changes):
    if asked:
      keys = jax.random.split(jax.random.fold_in(k_changes, number), len(x))
      x = jax.vmap(change)(x, keys)
  return x


def _optimiser(config: BackboneConfig) -> optax.GradientTransformation:
  warmup = min(100, config.steps // 10)
  rate = lambda peak: optax.warmup_cosine_decay_schedule(0.0, peak, warmup, config.steps)  # noqa: E731
  kernel = MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
  return muon(
    rate(config.rate),
    adam_learning_rate=rate(0.1 * config.rate),
    muon_weight_dimension_numbers=lambda weights: jax.tree.map(
      lambda leaf: kernel if leaf.ndim == 4 else None, weights
    ),
  )


def embed(apply: Callable[..., Any], params: Params, images: ClassSet) -> ClassSet:
  """The same classes with each image replaced by its features float32 [n, D]."""
  return images._replace(x=features_of(apply, params, images.x))


@functools.partial(jax.jit, static_argnames="apply")
def features_of(apply: Callable[..., Any], params: Params, x: Array) -> Array:
  """[n, D] of images [n, h, w, c]."""
  one = lambda x: apply(params, to_unit(x)[None])[0]  # noqa: E731
  # On CPU as many images as stay in cache: twice as fast as 256.
  number = 16 if platform_used() == "cpu" else 256
  return jax.lax.map(one, x, batch_size=number)
