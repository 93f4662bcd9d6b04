"""Low-rank adapters (Hu et al. 2022) of a language model for a document: from its first
part, for what follows."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.families.family import Metric, TaskFamily
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.networks.llama import LlamaConfig, hidden_states, init_llama, logits
from mcdi_jax.tasks import Form, Protocol, Query, Support, Task, log_mean_probability
from mcdi_jax.weights import Cut
from mcdi_jax.weights.lora import init_adapters, merge_adapters

UNSCORED = -1  # a target that only fills up, or is there to be seen


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DocumentItems:
  """Documents of a source each.

  Attributes:
    ids: int32 [n, t] tokens, without the one that begins a text.
    source: int32 [n].
    length: int32 [n], tokens of each that are there: a task then is a part of a document,
      which begins anywhere. None: all of them, and a task begins where its document does.
    view: tokens before a query that are seen.
    reach: tokens that a task takes at most from where it begins. Where it begins depends on
      this and not on how many queries are asked, so that a support that is drawn again is
      the same.
  """

  ids: Any
  source: Any
  length: Any = None
  view: int = dataclasses.field(metadata={"static": True}, default=0)
  reach: int = dataclasses.field(metadata={"static": True}, default=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Documents(TaskFamily):
  """A document a task; the task is its number, int []. Items are windows of it, `shots` in
  the support and the next ones as queries; params are B of A B for each adapted matrix of
  the model, `{"b": …}`, where A is random and the same for all, so that different params
  are different functions.

  Attributes:
    model: the language model's sizes.
    rank: of the adapters.
    adapted: patterns of the adapted matrices' paths.
    window: tokens of a window, each of which is predicted.
    first: the token that begins a text.
    adapt_a: whether params also have `a`, which is added to A. Where B is 0, as in θ_0, the
      loss has no gradient in it, so that a condition tells none of it in the first pass.
  """

  model: LlamaConfig = LlamaConfig()
  rank: int = 4
  adapted: str = "blocks/*/[qkvogud]*"
  window: int = 128
  first: int = 1
  adapt_a: bool = False
  name: ClassVar[str] = "documents"
  metric: ClassVar[Metric] = Metric("−loss", "nats a token")
  one_by_one: ClassVar[bool] = True
  cuts: ClassVar[dict[str, Cut]] = {"[ab]/*": Cut("chunks", size=256)}

  @property
  def item_shape(self) -> tuple[int, ...]:
    return (self.window,)

  def example(self, form: Form) -> Support:
    x = jnp.zeros((form.shots, *self.item_shape), jnp.int32)
    return Support(x, x)

  def draw_task(
    self, key: Key[Array, ""], items: DocumentItems, ways: int
  ) -> Int[Array, ""]:
    return jax.random.randint(key, (), 0, len(items.ids))

  def clusters(self, items: DocumentItems, task: Int[Array, ""]) -> Int[Array, "1"]:
    return items.source[task][None]

  def examples(
    self,
    key: Key[Array, ""],
    items: DocumentItems,
    task: Int[Array, ""],
    protocol: Protocol,
    *,
    form: Form | None = None,
  ) -> Task:
    """A support is how a document, or a part of it, begins. Queries may have what is before
    them in view; windows of a support have not."""
    ids, given = items.ids[task], protocol.shots
    number = given + protocol.queries
    if items.length is not None:
      if number * self.window > items.reach:
        raise InputError(
          f"a task takes {number * self.window} tokens, and items.reach is {items.reach}: "
          "raise it"
        )
      free = items.length[task] - items.reach
      start = jax.random.randint(key, (), 0, jnp.maximum(free, 0) + 1)
      ids = jax.lax.dynamic_slice(ids, (start,), (number * self.window,))
    x, y = self.windows(ids, number, items.view)
    asked = Query(x[given:], y[given:])
    return Task(Support(*self.windows(ids, given)), asked)

  def as_support(self, ids: Int[np.ndarray, " t"]) -> Support:
    """What `generate` takes, from how a text begins: whole windows of its tokens, without
    the token that begins a text; as many as the generator was trained with do best."""
    number = len(ids) // self.window
    if not number:
      raise InputError(
        f"the text has {len(ids)} tokens: at least {self.window} are needed for a support"
      )
    return Support(*self.windows(jnp.asarray(ids), number))

  def windows(
    self, ids: Int[Array, " t"], number: int, view: int = 0
  ) -> tuple[Int[Array, "n s"], Int[Array, "n s"]]:
    """Of a text's begin so many: what is seen, and what is to be predicted of it. A window
    begins as a text does, or with so many tokens in view, as far as there are any."""
    starts = self.window * jnp.arange(number)[:, None]
    place = starts - view + jnp.arange(view + self.window)
    token = lambda at: jnp.where(at < 0, self.first, ids[jnp.maximum(at, 0)])  # noqa: E731
    seen = token(place - 1).at[:, 0].set(self.first)
    scored = (place >= starts) & (place >= 0)
    return seen, jnp.where(scored, token(place), UNSCORED)

  # The network.

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """An untrained model, and its adapters' A."""
    k_base, k_a = jax.random.split(key)
    return self.frozen(init_llama(self.model, k_base), k_a)

  def frozen(self, base: Params, key: Key[Array, ""]) -> Params:
    """A model with A drawn, and the θ_0 that changes nothing."""
    adapters = init_adapters(key, base, self.adapted, self.rank)
    own = {"a": jax.tree.map(jnp.zeros_like, adapters["a"])} if self.adapt_a else {}
    return {"base": base, "a": adapters["a"], "init": {**own, "b": adapters["b"]}}

  def init(
    self, frozen: Params, key: Key[Array, ""], x: Any, ways: int, *, scale: Any = 0.0
  ) -> Params:
    """0 and, with a scale, Gaussian of it."""
    leaves, tree = jax.tree.flatten(frozen["init"])
    keys = jax.random.split(key, len(leaves))
    drawn = [
      scale * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)

  def merge(self, frozen: Params, params: Params) -> Params:
    """The model's params as adapted."""
    return merge_adapters({"base": frozen["base"], **self.adapters(frozen, params)})

  def adapters(self, frozen: Params, params: Params) -> Params:
    """`{"a": …, "b": …}`: A [inputs, rank] and B [rank, outputs] of each matrix."""
    a = frozen["a"]
    if "a" in params:
      a = jax.tree.map(jnp.add, a, params["a"])
    return {"a": a, "b": params["b"]}

  def apply(
    self, frozen: Params, params: Params, x: Int[Array, "n s"]
  ) -> Float[Array, "n s V"]:
    """Logits of the token after each."""
    return logits(self.model, self.merge(frozen, params), x)

  def loss(self, output: Float[Array, "n s V"], y: Int[Array, "n s"]) -> Float[Array, " n"]:
    """Of each window, in nats a token."""
    log = jax.nn.log_softmax(output)
    found = -jnp.take_along_axis(log, jnp.maximum(y, 0)[..., None], -1)[..., 0]
    return jnp.mean(found, -1, where=y != UNSCORED)

  def average(self, outputs: Float[Array, "m n s V"]) -> Float[Array, "n s V"]:
    """Logits of the mean of the probabilities."""
    return log_mean_probability(outputs)

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """The model's last hidden states of all tokens that are predicted; no class."""
    x = hidden_states(self.model, frozen["base"], support.x)
    x = x.reshape(-1, self.model.width)
    counts = (support.y != UNSCORED).reshape(-1)
    if support.mask is not None:
      counts &= jnp.repeat(support.mask, support.x.shape[1])
    return (x, jnp.zeros((len(x), 0)), counts), jnp.ones(0, bool)

  def perturb(self, key: Key[Array, ""], x: Array, amount: float) -> Array:
    """Tokens have no noise."""
    return x

  def check_items(self, name: str, x: Any) -> None:
    shape = jnp.shape(x)
    if len(shape) != 2 or shape[1:] != self.item_shape or not shape[0]:
      raise InputError(
        f"{name} has shape {shape}: give windows [n, {self.window}], at least one, as "
        "generator.family.as_support(tokens) does"
      )
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
      raise InputError(f"{name} is {jnp.result_type(x)}: give tokens, int32")

  def check_support(self, support: Support, ways: int) -> None:
    x, y = support.x, support.y
    if jnp.shape(y) != jnp.shape(x):
      raise InputError(f"support.y has shape {jnp.shape(y)}: give one of x's, {x.shape}")
    if not jnp.issubdtype(jnp.result_type(y), jnp.integer):
      raise InputError(f"support.y is {jnp.result_type(y)}: give tokens, int32")
    mask = support.mask
    if mask is not None and (jnp.shape(mask) != x.shape[:1] or mask.dtype != bool):
      raise InputError(
        f"support.mask is {mask.dtype} {jnp.shape(mask)}: give one bool a window"
      )
    # In numpy: what is known is traced, too, where jax looks at it inside a `jit`.
    if not any(isinstance(part, jax.core.Tracer) for part in (y, mask)):
      counts = np.asarray(y) != UNSCORED
      if not (counts if mask is None else counts & np.asarray(mask)[:, None]).any():
        raise InputError("no token of support.y counts: give at least one")
    for name, given, lowest in (("x", x, 0), ("y", y, UNSCORED)):
      if isinstance(given, jax.core.Tracer):
        continue
      values = np.asarray(given)
      least, most = int(values.min()), int(values.max())
      if least < lowest or most >= self.model.vocabulary:
        raise InputError(
          f"support.{name} has tokens from {least} to {most}, the model knows 0 to "
          f"{self.model.vocabulary - 1}: it is of another tokenizer"
        )
