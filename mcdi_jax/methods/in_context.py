"""A language model that is given the support to read, and is not changed: its last tokens
stand before what is asked."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mcdi_jax.families import Documents
from mcdi_jax.methods.method import Known, Method, Tunable
from mcdi_jax.networks.llama import logits
from mcdi_jax.tasks import Support

_SHARES = (0.25, 0.5, 1.0)


def in_context(family: Documents) -> Tunable:
  """How much of the support is read is chosen: shares of what the model has room for."""
  room = min(family.model.most - family.window, family.window * family.largest.shots)
  space = {"tokens": tuple(sorted({max(1, round(share * room)) for share in _SHARES}))}
  return Tunable("in_context", _make, space)


def _make(settings: dict[str, Any], known: Known) -> Method:
  functions = (_adapt, _predict(known.family, settings["tokens"]))
  return Method("in_context", *functions, {"frozen": known.frozen}, settings)


def _adapt(
  variables: dict[str, Any], support: Support, key: Key[Array, ""], ways: int
) -> Int[Array, " t"]:
  """The support's tokens, which its windows follow each other in."""
  return support.y.reshape(-1)


@functools.cache
def _predict(family: Documents, tokens: int) -> Any:
  model = family.model

  def predict(
    variables: dict[str, Any], read: Int[Array, " t"], x: Int[Array, "n s"]
  ) -> Float[Array, "n s V"]:
    """In place of the token that begins a query stands the text before, which it begins;
    what a query has in view itself leaves no place for it."""
    kept = min(tokens, model.most - x.shape[1]) if x.shape[1] == family.window else 0
    before = jnp.broadcast_to(read[len(read) - kept :], (len(x), kept))
    seen = jnp.concatenate([x[:, :1], before, x[:, 1:]], 1)
    return logits(model, variables["frozen"]["base"], seen)[:, kept:]

  return predict
