"""Linear heads on features of an encoder of the user's: any encoder, of any width."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.data import ClassSet
from mcdi_jax.data.npz import LARGEST
from mcdi_jax.families.few_shot import FewShot
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import (
  Params,
  head,
  prototype_head,
  ridge_head,
  ridge_head_loo,
  ridge_path,
)
from mcdi_jax.networks.head import apply_head
from mcdi_jax.tasks import (
  Form,
  Protocol,
  Support,
  Task,
  class_means,
  membership,
  sample_across,
)

_SLOW = 16.0  # what biases are divided by: so one rate suits them and kernels
_LOGITS = 3.0  # rms of a base's logits on the support: about that of heads that are trained
_LOGITS_BETWEEN = (1.0, 7.0)  # where leave-one-out explains nothing, and everything


class _About(NamedTuple):
  """Takes features about a centre [D], in units of a spread [], the rms there."""

  centre: Any
  spread: Any

  def __call__(self, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    return (x - self.centre) / self.spread


def _about(x: Float[Array, "n D"], share: Float[Array, " n"]) -> _About:
  """The mean, and the rms about it, of items with these shares, which sum to 1."""
  centre = share @ x
  square = share @ jnp.mean((x - centre) ** 2, -1)
  return _About(centre, jnp.sqrt(jnp.maximum(square, 1e-12)))


class _Span(NamedTuple):
  """Of a support's items: an orthonormal basis [D, n], and the support in its coordinates
  [n, n + 1], of which the last is for what lies outside."""

  basis: Any
  support: Support

  def coordinates(self, x: Float[Array, "m D"]) -> Float[Array, "m d"]:
    """The last is 0."""
    return jnp.pad(x @ self.basis, ((0, 0), (0, 1)))


def _span(support: Support) -> _Span:
  x, _, mask = support
  x = x if mask is None else jnp.where(mask[:, None], x, 0.0)
  found = _Span(jnp.linalg.qr(x.T)[0], support)
  return found._replace(support=support._replace(x=found.coordinates(x)))


def _logit_rms(
  params: Params, x: Float[Array, "n D"], member: Float[Array, "n N"]
) -> Float[Array, ""]:
  """Over the items that count and the classes that are there, about the mean over these."""
  there = member.any(1)[:, None] & member.any(0)
  logits = apply_head(params, x)
  about = logits - jnp.mean(logits, 1, keepdims=True, where=member.any(0))
  square = jnp.mean(about**2, where=there)
  return jnp.sqrt(jnp.maximum(square, 1e-12))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(FewShot):
  """The head's weights are generated; the items are features [n, D].

  Features are standardised within a task: of length 1, then with the support's mean taken
  off, and divided by the support's spread about it. So nothing is kept of an encoder, and a
  generator takes features of any. The head's kernel is divided by √D where it is applied,
  so that its size does not depend on D.

  Attributes:
    width: D of the features that it was trained on.
    unit_length: whether features are divided by their length first.
    across: how many domains the support of a training task is drawn from, where its queries
      are of another one; 0: a task is of one domain. Of items without domains it says
      nothing.
  """

  width: int
  unit_length: bool = True
  across: int = 0
  name: ClassVar[str] = "features"
  most_ways: ClassVar[int] = 100
  one_by_one: ClassVar[bool] = True  # for the bases and operators, which LAPACK makes
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "prototypes", "ridge", "ridge_loo")

  @property
  def item_shape(self) -> tuple[int, ...]:
    return (self.width,)

  def of_items(self, shape: tuple[int, ...]) -> "Features":
    return dataclasses.replace(self, width=shape[-1])

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """There is nothing that all tasks share."""
    return {}

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """Gaussian of this scale."""
    del frozen
    return head(x.shape[-1], ways, scale=scale).init(key)

  def examples(
    self,
    key: Key[Array, ""],
    items: ClassSet,
    task: Int[Array, " N"],
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    if not self.across or items.twins is None:
      return super().examples(key, items, task, protocol, form=form)
    drawn = sample_across(key, items, task, protocol, self.across, form=form)
    return drawn._replace(support=self._packed(drawn.support, form))

  def scaled(self, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Of length √D: what is standardised has coordinates of rms 1, in any D."""
    if not self.unit_length:
      return x
    return x * jax.lax.rsqrt(jnp.maximum(jnp.mean(x**2, -1, keepdims=True), 1e-12))

  def apply(
    self, frozen: Params, params: Params, x: Float[Array, "n D"]
  ) -> Float[Array, "n N"]:
    """The params are settled; they may have an `origin` [D], which is taken off features
    before all else, where the support was given without it."""
    del frozen
    width = params["head"]["kernel"].shape[0]
    if x.shape[-1] != width:
      raise InputError(
        f"x has {x.shape[-1]} features an item, the support had {width}: embed both by one "
        "encoder"
      )
    if not {"centre", "spread"} <= params.keys():
      raise InputError(
        "params have no centre: settle them on a support, as generate and "
        "family.settled(frozen, params, support) do"
      )
    about = _About(params["centre"], params["spread"])
    return self._logits(params, about(self.scaled(x - params.get("origin", 0.0))))

  def fitted(self, frozen: Params, params: Params, support: Support) -> Array:
    """About the items' own mean, whatever their labels; a support with as many items of
    each class has the same centre and spread."""
    del frozen
    x, _, mask = support
    x = self.scaled(x if mask is None else jnp.where(mask[:, None], x, 0.0))
    counts = jnp.ones(len(x)) if mask is None else mask.astype(x.dtype)
    return self._logits(params, _about(x, counts / jnp.maximum(counts.sum(), 1))(x))

  def _logits(self, params: Params, x: Float[Array, "n D"]) -> Float[Array, "n N"]:
    """x has coordinates of rms 1."""
    kernel, bias = params["head"]["kernel"], params["head"]["bias"]
    return x @ kernel / x.shape[-1] + bias / _SLOW

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    """With the centre [D] and the spread []."""
    member = membership(support, params["head"]["bias"].shape[-1])
    _, about = self._standardised(support, member)
    return {**params, **about._asdict()}

  def _standardised(
    self, support: Support, member: Float[Array, "n N"]
  ) -> tuple[Float[Array, "n D"], "_About"]:
    """Items, 0 where one does not count; each class has an equal part in what they are
    taken about."""
    counts = member.any(1)[:, None]
    x = self.scaled(jnp.where(counts, support.x, 0.0))  # the rest may hold anything
    share = member / jnp.maximum(member.sum(0), 1)
    about = _about(x, share.sum(1) / jnp.maximum(member.any(0).sum(), 1))
    return jnp.where(counts, about(x), 0.0), about

  def merge(self, frozen: Params, params: Params) -> Params:
    return params

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features in coordinates of rms 1, as the tokens have, and `membership`."""
    member = membership(support, ways)
    x, _ = self._standardised(support, member)
    return (x, member), member.any(0)

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """Also `prototypes`; `ridge`, with λ the mean squared norm; and `ridge_loo`, with λ by
    leave-one-out and a prior about that. Their logits on the support are brought to one
    size, as λ may make them of any; to a larger one the more leave-one-out explains, so
    that what a generator adds to a base counts less where the base is known to be good."""
    if name not in ("prototypes", "ridge", "ridge_loo"):
      return super().base(frozen, name, support, ways)
    member = membership(support, ways)
    root = support.x.shape[-1] ** 0.5
    x = self._standardised(support, member)[0] / root
    size = jnp.float32(_LOGITS)
    if name == "prototypes":
      found = prototype_head(class_means(member, x))
    elif name == "ridge":
      found = ridge_head(x, member, 1.0)
    else:
      path = ridge_path(x, member)
      found = ridge_head_loo(x, member, path)
      (least, most), explained = _LOGITS_BETWEEN, 1 - path.unexplained.min()
      several = member.sum(0).max() > 1
      size = jnp.where(several, least + (most - least) * explained, size)
    factor = size / _logit_rms(found, x, member)
    kernel, bias = (factor * found["head"][leaf] for leaf in ("kernel", "bias"))
    return {"head": {"kernel": kernel * root, "bias": bias * _SLOW}}

  def compact(self, task: Task) -> Task:
    """In coordinates of the support's span, and one more for the length of what of a query
    lies outside: inner products with the support, and lengths, are the same, and a network
    that turns with the features knows nothing else of them."""
    if not self.is_wide(task.support):
      return task
    found = _span(task.support)
    x, query = task.query.x, found.coordinates(task.query.x)
    outside = jnp.sum(x**2, -1) - jnp.sum(query**2, -1)
    query = query.at[:, -1].set(jnp.sqrt(jnp.maximum(outside, 0.0)))
    return Task(found.support, task.query._replace(x=query))

  def is_wide(self, support: Support) -> bool:
    """Whether its span has fewer coordinates than the items."""
    number, width = support.x.shape
    return number + 1 < width

  def inside(self, support: Support) -> tuple[Support, Callable[[Params], Params]]:
    """As `compact`; generated kernels lie in the support's span."""
    found = _span(support)
    width, smaller = support.x.shape[-1], found.support.x.shape[-1]

    def lifted(params: Params) -> Params:
      """Logits are divided by the number of coordinates, whose rms is 1 in both."""
      head = params["head"]
      kernel = found.basis @ head["kernel"][:-1] * (width / smaller) ** 0.5
      return {"head": {**head, "kernel": kernel}}

    return found.support, lifted

  def varied(self, key: Key[Array, ""], task: Task, most: float) -> Task:
    """With other singular values of the support's features about their mean, and the
    queries' changed alike: raised to one power, log-uniform from 1/`most` to `most`, and
    each multiplied by a log-normal number of sd up to log `most`. So what tells classes
    apart lies where features differ much in one task, and little in another."""
    k_power, k_sd, k_each = jax.random.split(key, 3)
    most = jnp.log(most)
    power = jnp.exp(jax.random.uniform(k_power, (), minval=-most, maxval=most))
    sd = jax.random.uniform(k_sd, (), maxval=most)
    (x, y, mask), query = task
    counts = jnp.ones(len(x)) if mask is None else mask.astype(x.dtype)
    number = jnp.maximum(counts.sum(), 1)
    mean = counts @ jnp.where(counts[:, None] > 0, x, 0.0) / number
    about = jnp.where(counts[:, None] > 0, x - mean, 0.0)
    square, directions = jnp.linalg.eigh(about.T @ about)
    rank = jnp.minimum(number - 1, len(square)).astype(int)
    least = square[jnp.clip(len(square) - rank, 0, len(square) - 1)]  # that items reach
    size = jnp.sqrt(jnp.maximum(square, jnp.maximum(least, 1e-6 * square[-1] + 1e-12)))
    factor = (size / jnp.sqrt(jnp.mean(size**2))) ** (power - 1)
    each = jnp.exp(sd * jax.random.normal(k_each, size.shape))
    reached = jnp.arange(len(square)) >= len(square) - rank
    factor = factor * jnp.where(reached, each, 1.0)
    change = (directions * factor) @ directions.T
    both = [mean + (part.x - mean) @ change for part in task]
    return Task(Support(both[0], y, mask), query._replace(x=both[1]))

  def perturb(
    self, key: Key[Array, ""], x: Float[Array, "n D"], amount: float
  ) -> Float[Array, "n D"]:
    """In units of the rms coordinate about the items' mean."""
    spread = jnp.sqrt(jnp.mean((x - x.mean(0)) ** 2))
    return x + amount * spread * jax.random.normal(key, x.shape)

  def embed(self, frozen: Params, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """In float32; files of features may have halves."""
    return x.astype(jnp.float32)

  def check_items(self, name: str, x: Any) -> None:
    if jnp.ndim(x) != 2 or jnp.shape(x)[1] < 2:
      raise InputError(f"{name} has shape {jnp.shape(x)}: give features [n, D]")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise InputError(f"{name} is {jnp.result_type(x)}: give floats")

  def check_values(self, x: np.ndarray) -> None:
    if not np.isfinite(x).all():
      raise InputError("support.x has NaN or infinite values: leave these items out")
    most = float(np.abs(x).max(initial=0))
    if most > LARGEST:
      remedy = "whose squares are too large for float32: divide them"
      raise InputError(f"support.x has values up to {most:.0e}, {remedy}")
