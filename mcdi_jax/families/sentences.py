"""Low-rank adapters (Hu et al. 2022) inside a sentence encoder, generated from labelled
texts, and the classifier on the features that they make."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.encoders.bert import BertConfig, init_bert, pooled
from mcdi_jax.families.few_shot import FewShot
from mcdi_jax.families.inside import Inside, plain_features
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Params
from mcdi_jax.tasks import Form, Support
from mcdi_jax.weights import Cut, leaves_by_path, nested
from mcdi_jax.weights.lora import init_adapters, merge_adapters

FILLED = -1  # a token that only fills up a text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentences(Inside):
  """Items are texts as tokens, int32 [length], filled up with `FILLED`; params are
  `{"b": …, "head": …}`: B of A B for each adapted matrix, where A is random and the same
  for all, so that different params are different functions.

  Attributes:
    model: the encoder's sizes.
    rank: of the adapters.
    adapted: patterns of the adapted matrices' paths; as a rule the queries' and the values'
      (Hu et al. 2022, section 4.2).
    length: tokens of a text.
  """

  model: BertConfig = BertConfig()
  rank: int = 4
  adapted: str = "blocks/*/qkv/[02]/kernel"
  length: int = 64
  name: ClassVar[str] = "sentences"
  one_by_one: ClassVar[bool] = True
  cuts: ClassVar[dict[str, Cut]] = {**FewShot.cuts, "b/*": Cut("chunks", size=256)}

  @property
  def item_shape(self) -> tuple[int, ...]:
    return (self.length,)

  def example(self, form: Form) -> Support:
    support = super().example(form)
    return support._replace(x=support.x.astype(jnp.int32))

  def init_frozen(self, key: Key[Array, ""]) -> Params:
    """An untrained encoder, and its adapters' A."""
    k_base, k_a = jax.random.split(key)
    return self.frozen(init_bert(self.model, k_base), k_a)

  def frozen(self, base: Params, key: Key[Array, ""]) -> Params:
    """An encoder with A drawn; its features are as they are."""
    a = init_adapters(key, base, self.adapted, self.rank)["a"]
    return {
      "base": base, "a": a, "mean": jnp.zeros(self.model.width), "scale": jnp.ones(())
    }  # fmt: skip

  def about(self, frozen: Params, x: Int[Array, "n t"]) -> Params:
    """The same with what features are standardised with: the mean over these texts, and the
    length that is usual about it."""
    features = jax.lax.map(
      lambda item: plain_features(self, frozen, item[None])[0], x, batch_size=16
    )
    mean = features.mean(0)
    scale = jnp.sqrt(jnp.mean(jnp.sum((features - mean) ** 2, -1)))
    return {**frozen, "mean": mean, "scale": jnp.maximum(scale, 1e-6)}

  def unchanged(self, frozen: Params) -> Params:
    base = leaves_by_path(frozen["base"])
    zeros = {
      path: jnp.zeros((self.rank, base[path].shape[-1]))
      for path in leaves_by_path(frozen["a"])
    }
    return {"b": nested(zeros)}

  def merge(self, frozen: Params, params: Params) -> Params:
    """The encoder's params as adapted, and the rest as it is."""
    given = {"base": frozen["base"], "a": frozen["a"], "b": params["b"]}
    return {"encoder": merge_adapters(given), **params}

  def features(
    self, frozen: Params, params: Params, x: Int[Array, "n t"]
  ) -> Float[Array, "n D"]:
    encoder = self.merge(frozen, params)["encoder"]
    found = pooled(self.model, encoder, jnp.maximum(x, 0), x != FILLED)
    return (found - frozen["mean"]) / frozen["scale"]

  def condition(
    self, frozen: Params, support: Support, ways: int
  ) -> tuple[Any, Bool[Array, " N"]]:
    """Features of the encoder as it is, standardised, and `membership`."""
    on = self.on_features(frozen, self.unchanged(frozen), support)
    return self.heads.condition({}, on, ways)

  def perturb(self, key: Key[Array, ""], x: Array, amount: float) -> Array:
    """Tokens have no noise."""
    return x

  def check_items(self, name: str, x: Any) -> None:
    if jnp.ndim(x) != 2 or jnp.shape(x)[1:] != self.item_shape:
      raise InputError(
        f"{name} has shape {jnp.shape(x)}: give texts as tokens [n, {self.length}], filled "
        f"up with {FILLED}"
      )
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
      raise InputError(f"{name} is {jnp.result_type(x)}: give tokens, int32")

  def check_values(self, x: Any) -> None:
    least, most = int(x.min(initial=0)), int(x.max(initial=0))
    if least < FILLED or most >= self.model.vocabulary:
      raise InputError(
        f"support.x has tokens from {least} to {most}, the encoder knows 0 to "
        f"{self.model.vocabulary - 1}: it is of another tokenizer"
      )
