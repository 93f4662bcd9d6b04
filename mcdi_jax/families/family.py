"""`TaskFamily`: everything that the method must know of a use (the word is that of Metz et
al.'s learned_optimization). No room below this one knows what kind of network it is that
weights are generated for.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Form, Protocol, Query, Support, Task, mean_over_items
from mcdi_jax.weights import Cut, Hidden, Layer

PrepareOn = Literal["all", "support", "support_and_query"]


class Metric(NamedTuple):
  """How well weights do on a task, the more the better.

  Attributes:
    name: as in results.
    unit: that people read it in.
    scale: from what `quality` returns to that unit.
  """

  name: str
  unit: str
  scale: float = 1.0


class Batch(NamedTuple):
  """What one step of an optimisation descends on: items x [m, ...], labels y [m], and
  weights [m], of which 0 fills up the arrays."""

  x: Any
  y: Any
  weight: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskFamily(abc.ABC):
  """A family of tasks, and the network whose weights are generated for them.

  A subclass is a frozen dataclass of static numbers: hashable, so that equal families
  share what is compiled, and JSON on disk. Arrays are always arguments of its functions,
  which are pure; an array in a closure would be a constant of the compilation.

  Of one's own it must say `name`, `cuts`, `item_shape`, `draw_task`, `examples`, `fresh`,
  `apply` and `loss`; for all else there is a usual answer here.

  Attributes:
    ways, shots: forms of task that generators are trained on: rows of classes, and items
      in a support for each. Every combination takes its turn.
  """

  ways: tuple[int, ...] = (1,)
  shots: tuple[int, ...] = (1,)
  name: ClassVar[str] = ""
  metric: ClassVar[Metric] = Metric("−loss", "")
  classifies: ClassVar[bool] = False
  """Whether tasks have classes, `ways` of them."""
  most_ways: ClassVar[int] = 0
  """With more classes generated weights were never tried, and are refused; 0: none."""
  one_by_one: ClassVar[bool] = False
  """Whether on CPU tasks are computed one after the other: faster where the network does
  much with many weights of a task's own."""
  bases: ClassVar[tuple[str, ...]] = ("none", "init")
  """What `base` knows."""
  cuts: ClassVar[Mapping[str, Cut]] = {}
  """Which leaves are generated, by patterns of paths, and how they are cut into tokens; of
  several patterns that fit, the first counts."""
  hidden_layers: ClassVar[tuple[Hidden, ...]] = ()
  """The layers whose units `config.align` puts in order: for each, the leaves and axes that
  run over its units."""
  layers: ClassVar[tuple[Layer, ...]] = ()
  """The affine maps whose weights `config.precondition` changes the coordinates of."""

  @property
  def largest(self) -> Form:
    """The sizes of the arrays that tasks of all forms fit in."""
    return Form(max(self.ways), max(self.shots))

  @property
  @abc.abstractmethod
  def item_shape(self) -> tuple[int, ...]:
    """Of one item as a user gives it."""
    raise NotImplementedError

  def of_items(self, shape: tuple[int, ...]) -> "TaskFamily":
    """The same for embedded items of another shape, where that makes a difference to the
    generated leaves and generators can do it; as a rule itself."""
    return self

  def example(self, form: Form) -> Support:
    """A support of this form as a user could give it, of zeros: only shapes count. As a
    rule one number to predict for each item."""
    number = form.ways * form.shots
    x = jnp.zeros((number, *self.item_shape))
    if self.classifies:
      return Support(x, jnp.repeat(jnp.arange(form.ways), form.shots))
    return Support(x, jnp.zeros(number))

  # What there is to do.

  @abc.abstractmethod
  def draw_task(self, key: Key[Array, ""], items: Any, ways: int) -> Any:
    """Which task: a small pytree of integers, which the bank keeps beside its weights."""
    raise NotImplementedError

  def padded_task(self, tasks: Any) -> Any:
    """Tasks of fewer ways, numpy arrays with a leading axis, in the form of the largest."""
    return tasks

  def unpadded(self, bank: Any, form: Protocol) -> Any:
    """Of a bank's `tasks` and `weights`, the rows of classes that a form has."""
    return bank

  def support(
    self,
    key: Key[Array, ""],
    items: Any,
    task: Any,
    shots: int,
    *,
    form: Form | None = None,
  ) -> Support:
    """What a generator may see of a task.

    Args:
      form: what of the arrays counts, where the task and `shots` are only their sizes.
    """
    protocol = Protocol(self.largest.ways, shots, 1)
    return self.examples(key, items, task, protocol, form=form).support

  @abc.abstractmethod
  def examples(
    self,
    key: Key[Array, ""],
    items: Any,
    task: Any,
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    """A support and queries of a task, disjoint; `form` as in `support`."""
    raise NotImplementedError

  def sample(
    self,
    key: Key[Array, ""],
    items: Any,
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    """A task that is drawn, and its examples."""
    k_task, k_items = jax.random.split(key)
    task = self.draw_task(k_task, items, protocol.ways)
    return self.examples(k_items, items, task, protocol, form=form)

  def versions(self, items: Any) -> Any:
    """Items as `preparation_items` takes them, where there is one version of each."""
    return items

  def preparation_items(
    self,
    key: Key[Array, ""],
    items: Any,
    task: Any,
    on: PrepareOn,
    *,
    shots: int,
    queries: int,
  ) -> Any:
    """What the optimisation of a task's weights has to draw from, gathered once."""
    protocol = Protocol(self.largest.ways, shots, queries)
    given, asked = self.examples(key, items, task, protocol)
    if on == "support":
      return Batch(given.x, given.y, jnp.ones(len(given.x)))
    x, y = jnp.concatenate([given.x, asked.x]), jnp.concatenate([given.y, asked.y])
    return Batch(x, y, jnp.ones(len(x)))

  def preparation_batch(self, key: Key[Array, ""], gathered: Any) -> Batch:
    """What one step of it descends on: as a rule all there is."""
    return gathered

  # The network.

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """What is the same for all tasks, untrained: as a rule the θ_0 that they share."""
    return {"init": self.fresh(key)}

  def fresh(self, key: Key[Array, ""]) -> Params:
    """A θ_0 of the generated leaves, drawn."""
    raise InputError(f"{type(self).__name__} has no `fresh`: say how a θ_0 is drawn")

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """θ_0 of a task: √(1 − scale²) of the one that all share, and `scale` of one of the
    key's own, which is as large.

    Args:
      x: items as `apply` takes them; only their shape counts.
    """
    mixed = lambda shared, own: (1 - scale**2) ** 0.5 * shared + scale * own  # noqa: E731
    return jax.tree.map(mixed, frozen["init"], self.fresh(key))

  def compact(self, task: Any) -> Any:
    """The same task in fewer numbers, where the query loss of what is generated for it at
    τ = 0 is the same."""
    return task

  def is_wide(self, support: Any) -> bool:
    """Whether `inside` has a smaller support."""
    return False

  def inside(self, support: Any) -> tuple[Any, Callable[[Params], Params]]:
    """A support in fewer numbers from which the same is generated at τ = 0, and what makes
    weights for the items as they are of those. Families of features have it."""
    raise NotImplementedError

  def varied(self, key: Key[Array, ""], task: Any, most: float) -> Any:
    """A task like it, of what a set may be like that there is not. Families whose items are
    features have it."""
    raise NotImplementedError

  def embed(self, frozen: Params, x: Shaped[Array, "n ..."]) -> Shaped[Array, "n ..."]:
    """What the frozen part alone makes of a user's items: computed once, and kept."""
    return x

  @abc.abstractmethod
  def apply(self, frozen: Params, params: Params, x: Shaped[Array, "n ..."]) -> Array:
    """Outputs [n, ...] for items as `embed` returns them."""
    raise NotImplementedError

  def fitted(self, frozen: Params, params: Params, support: Support) -> Array:
    """Outputs for the very items that params are fitted to, of which those that count may
    share what the network needs to know of them, such as the statistics of normalisation;
    as a rule what `apply` gives."""
    return self.apply(frozen, params, support.x)

  def settled(self, frozen: Params, params: Params, support: Support) -> Params:
    """The params with what the network keeps of a support for its queries, such as the
    statistics of normalisation; as a rule nothing. What `apply` is given is settled."""
    return params

  def layer_inputs(
    self, frozen: Params, support: Support
  ) -> tuple[Float[Array, "n p d"], ...]:
    """Under θ_0, what each of `layers` is given for a support's items, at p positions."""
    raise NotImplementedError

  def merge(self, frozen: Params, params: Params) -> Params:
    """The full tree: generated leaves and frozen ones."""
    return {"frozen": frozen, **params}

  @abc.abstractmethod
  def loss(self, output: Array, y: Array) -> Float[Array, " n"]:
    """Of each item."""
    raise NotImplementedError

  def support_loss(
    self, frozen: Params, params: Params, support: Support
  ) -> Float[Array, ""]:
    """The mean loss of the items of a support that count, which params are fitted to."""
    output = self.fitted(frozen, params, support)
    return mean_over_items(self.loss(output, support.y), support.mask)

  def average(self, outputs: Array) -> Array:
    """One output [n, ...] from those of several networks [m, n, ...]."""
    return outputs.mean(0)

  def quality(self, output: Array, query: Query) -> Float[Array, ""]:
    """Of the outputs for a task's queries, the more the better; times `metric.scale` it is
    in the metric's unit. As a rule minus the mean loss."""
    return -mean_over_items(self.loss(output, query.y), query.mask)

  def scores(self, output: Array, query: Query, ways: int) -> Array:
    """[U], the same by what may share its luck with other tasks, such as a class: each
    is a sum over `asked(protocol)` queries, and the quality is their mean a query."""
    return self.quality(output, query)[None]

  def asked(self, protocol: Protocol) -> int:
    """Queries in each of a task's scores."""
    return 1

  def clusters(self, items: Any, task: Any) -> Int[Array, " U"]:
    """What each of a task's scores belongs to, a number from 0; as a rule all to one, so
    that there is no interval over clusters."""
    return jnp.zeros(1, jnp.int32)

  # What is known of a task.

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """What the score network's `encode` is given, and which classes there are; from a
    support alone, whose x is as `embed` returns it. As a rule, for the network `tokens`,
    a token for each item, of x and y side by side, and no class."""
    x = support.x.reshape(len(support.x), -1)
    y = support.y.reshape(len(support.x), -1).astype(x.dtype)
    number = len(x)
    mask = jnp.ones(number, bool) if support.mask is None else support.mask
    inputs = (jnp.concatenate([x, y], -1), jnp.zeros((number, 0)), mask)
    return inputs, jnp.ones(0, bool)

  def base(self, frozen: Params, name: str, support: Support, ways: int) -> Params | None:
    """The params that generated ones are a difference from: `init`, θ_0, and whatever else
    the use knows; `none`: None."""
    if name == "none":
      return None
    if name == "init":
      return self.init(frozen, jax.random.key(0), support.x, ways)
    raise InputError(f"base is {name!r}: {self.name} have {list(self.bases)}")

  def gradient_at(self, frozen: Params, support: Support, ways: int) -> Params:
    """The params at which the gradient of the support's loss is taken, where that is part
    of the condition (`score.gradient`); as a rule θ_0."""
    return self.init(frozen, jax.random.key(0), support.x, ways)

  def facts(self, frozen: Params, support: Support, ways: int) -> Params:
    """What a support says of each weight by itself, in the params' form, where that is part
    of the condition (`score.facts`). Adapters have it."""
    raise NotImplementedError

  def without_absent(self, params: Params, present: Bool[Array, " N"]) -> Params:
    """The same, with no answer for the classes that are not there."""
    return params

  def perturb(self, key: Key[Array, ""], x: Array, amount: float) -> Array:
    """Embedded items with so much noise, in units of their rms coordinate."""
    return x + amount * jnp.sqrt(jnp.mean(x**2)) * jax.random.normal(key, x.shape)

  # What is given by a user.

  def check_items(self, name: str, x: Any) -> None:
    """Raises `InputError` unless x has the shape and dtype that `embed` takes."""
    if jnp.ndim(x) == 0 or jnp.shape(x)[1:] != tuple(self.item_shape):
      shape = ", ".join(map(str, self.item_shape))
      raise InputError(f"{name} has shape {jnp.shape(x)}: give items [n, {shape}]")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise InputError(f"{name} is {jnp.result_type(x)}: give floats")

  def check_support(self, support: Support, ways: int) -> None:
    """Raises `InputError` for values that make no task; traced ones pass."""
    if len(support.y) != len(support.x):
      raise InputError(
        f"support.y has {len(support.y)} entries for {len(support.x)} items: give one each"
      )
