"""Implicit representations: a network that takes a place to the value of one image there
(Sitzmann et al. 2020; on Fourier features, Tancik et al. 2020). All its weights are
generated, from the image; the task is to hold the image, and the query is the support."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.families.family import Batch, Metric, PrepareOn, TaskFamily
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Form, Protocol, Query, Support, Task
from mcdi_jax.weights import Cut, Hidden, Layer

_SMALLEST_ERROR = 1e-10


class FieldItems(NamedTuple):
  """Images, and the places of their pixels.

  Attributes:
    places: [h·w, F] embedded, row after row.
    images: x uint8 or float [n, h, w, c], by class.
  """

  places: Any
  images: ClassSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields(TaskFamily):
  """One image a task; the task is its class and its number in it, int [2].

  A place is (y, x) in [0, 1]², its embedding the Fourier features. One hidden layer of
  rectified units follows; its weights and those of the output are generated.

  Attributes:
    image_shape: (h, w, c).
    frequencies: of the Fourier features, a sine and a cosine each.
    bandwidth: their sd, in periods over the image.
    hidden: units.
  """

  image_shape: tuple[int, ...]
  frequencies: int = 64
  bandwidth: float = 4.0
  hidden: int = 12
  name: ClassVar[str] = "fields"
  metric: ClassVar[Metric] = Metric("PSNR", "dB")
  cuts: ClassVar[dict[str, Cut]] = {"*": Cut("chunks", size=128)}
  hidden_layers: ClassVar[tuple[Hidden, ...]] = (
    {"hidden/kernel": 1, "hidden/bias": 0, "out/kernel": 0},
  )
  layers: ClassVar[tuple[Layer, ...]] = (
    Layer("hidden/kernel", "hidden/bias"),
    Layer("out/kernel", "out/bias"),
  )

  @property
  def item_shape(self) -> tuple[int, ...]:
    return (2,)

  def places(self) -> Float[Array, "n 2"]:
    """Of the pixels' centres, row after row."""
    sides = [(jnp.arange(n) + 0.5) / n for n in self.image_shape[:2]]
    return jnp.stack(jnp.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)

  def as_support(self, image: Float[Array, "h w c"]) -> Support:
    """What `generate` takes, from an image in [0, 1]."""
    return Support(self.places(), image.reshape(-1, self.image_shape[2]))

  def items(self, frozen: Params, images: ClassSet) -> FieldItems:
    return FieldItems(self.embed(frozen, self.places()), images)

  def example(self, form: Form) -> Support:
    return self.as_support(jnp.zeros(self.image_shape))

  def draw_task(self, key: Key[Array, ""], items: FieldItems, ways: int) -> Int[Array, "2"]:
    k_class, k_image = jax.random.split(key)
    c = jax.random.randint(k_class, (), 0, items.images.classes)
    return jnp.stack([c, jax.random.randint(k_image, (), 0, items.images.count[c])])

  def clusters(self, items: FieldItems, task: Int[Array, "2"]) -> Int[Array, "1"]:
    return task[:1]

  def support(
    self,
    key: Key[Array, ""],
    items: FieldItems,
    task: Int[Array, "2"],
    shots: int,
    *,
    form: Form | None = None,
  ) -> Support:
    image = items.images.x[items.images.index[task[0], task[1]]]
    return Support(items.places, to_unit(image).reshape(-1, self.image_shape[2]))

  def examples(
    self,
    key: Key[Array, ""],
    items: FieldItems,
    task: Int[Array, "2"],
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    support = self.support(key, items, task, protocol.shots, form=form)
    return Task(support, Query(*support))

  def preparation_items(
    self,
    key: Key[Array, ""],
    items: FieldItems,
    task: Int[Array, "2"],
    on: PrepareOn,
    *,
    shots: int,
    queries: int,
  ) -> Batch:
    support = self.support(key, items, task, shots)
    return Batch(support.x, support.y, jnp.ones(len(support.x)))

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """The frequencies, and the θ_0 that all tasks share."""
    k_frequencies, k_init = jax.random.split(key)
    drawn = self.bandwidth * jax.random.normal(k_frequencies, (2, self.frequencies))
    return {"frequencies": drawn, "init": self.fresh(k_init)}

  def fresh(self, key: Key[Array, ""]) -> Params:
    """He et al. (2015); no bias."""
    k_hidden, k_out = jax.random.split(key)
    width, channels = 2 * self.frequencies, self.image_shape[2]
    hidden = jax.random.normal(k_hidden, (width, self.hidden)) * (2 / width) ** 0.5
    out = jax.random.normal(k_out, (self.hidden, channels)) * self.hidden**-0.5
    return {
      "hidden": {"kernel": hidden, "bias": jnp.zeros(self.hidden)},
      "out": {"kernel": out, "bias": jnp.zeros(channels)},
    }

  def embed(self, frozen: Params, x: Float[Array, "n 2"]) -> Float[Array, "n F"]:
    """Fourier features of mean square 1."""
    phase = 2 * jnp.pi * x @ frozen["frequencies"]
    return 2**0.5 * jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)

  def apply(
    self, frozen: Params, params: Params, x: Float[Array, "n F"]
  ) -> Float[Array, "n c"]:
    del frozen
    return _hidden(params, x) @ params["out"]["kernel"] + params["out"]["bias"]

  def layer_inputs(self, frozen: Params, support: Support) -> tuple[Array, ...]:
    return support.x[:, None], _hidden(frozen["init"], support.x)[:, None]

  def merge(self, frozen: Params, params: Params) -> Params:
    return {"frequencies": frozen["frequencies"], **params}

  def loss(self, output: Float[Array, "n c"], y: Float[Array, "n c"]) -> Float[Array, " n"]:
    """Squared error, the mean over channels."""
    return jnp.mean((output - y) ** 2, -1)

  def quality(self, output: Float[Array, "n c"], query: Query) -> Float[Array, ""]:
    """Peak signal-to-noise ratio −10 log₁₀ of the mean squared error."""
    error = jnp.mean((output - query.y) ** 2)
    return -10 * jnp.log10(jnp.maximum(error, _SMALLEST_ERROR))

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """The image as one item, its ink of unit size; no class."""
    image = 3 * support.y.reshape(1, -1)
    return (image, jnp.zeros((1, 0)), jnp.ones(1, bool)), jnp.ones(0, bool)

  def check_support(self, support: Support, ways: int) -> None:
    height, width, channels = self.image_shape
    expected = (height * width, channels)
    if jnp.shape(support.y) != expected or len(support.x) != expected[0]:
      raise InputError(
        f"support.y has shape {jnp.shape(support.y)} for {len(support.x)} places: give the "
        f"{height}×{width} image as generator.family.as_support(image) does"
      )
    if support.mask is not None:
      raise InputError("support.mask is given: all pixels of an image count")


def _hidden(params: Params, x: Float[Array, "n F"]) -> Float[Array, "n h"]:
  return jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
