"""`Model`: what makes weights for a support, generators and what is composed of them."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mcdi_jax.families import TaskFamily
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Network, Params
from mcdi_jax.tasks import Support


class Model(abc.ABC):
  """A pytree, so that `jit`, `vmap` and `grad` take it as an argument."""

  @property
  @abc.abstractmethod
  def family(self) -> TaskFamily:
    """The tasks, and the network that weights are made for; static."""
    raise NotImplementedError

  @property
  @abc.abstractmethod
  def matmul_precision(self) -> str:
    """Of float32 matmuls; static."""
    raise NotImplementedError

  @abc.abstractmethod
  def embed(self, x: Array) -> Any:
    """What the frozen part of the network makes of items [n, ...]: arrays with leading
    axis n."""
    raise NotImplementedError

  @abc.abstractmethod
  def from_features(
    self, support: Support, key: Key[Array, ""], *, temperature: Any, ways: int
  ) -> Params:
    """Weights for a support whose x is what `embed` gives; nothing is checked."""
    raise NotImplementedError

  @abc.abstractmethod
  def outputs(self, params: Params, features: Any) -> Array:
    """Of the network with these weights, for what `embed` gives."""
    raise NotImplementedError

  def fitted(self, params: Params, support: Support) -> Array:
    """`outputs` for the very items that params are fitted to, as `TaskFamily.fitted`."""
    return self.outputs(params, support.x)

  def settled(self, params: Params, support: Support) -> Params:
    """The params with what is kept of a support, as `TaskFamily.settled`."""
    return params

  @property
  def network(self) -> Network:
    """The downstream network with its frozen leaves bound: `network.apply(params, x)`
    takes generated params and items, such as images float [n, h, w, c] in [0, 1], to
    outputs, such as logits [n, N]; n may be 0. Other shapes and dtypes raise
    `InputError`."""

    def apply(params: Params, x: Any) -> Array:
      x = as_array("x", x)
      self.family.check_items("x", x)
      with jax.default_matmul_precision(self.matmul_precision):
        return self.outputs(params, self.embed(jnp.asarray(x)))

    def init(key: Key[Array, ""]) -> Params:
      del key
      raise TypeError("the weights of this network are generated: call mcdi_jax.generate")

    return Network(init, apply)


def as_array(name: str, x: Any) -> Any:
  """Lists and the like as numpy arrays; jax arrays, traced or not, as they are."""
  if x is None or isinstance(x, jax.Array):
    return x
  try:
    found = np.asarray(x)
  except (ValueError, TypeError):
    found = np.asarray(None)
  if found.dtype == object:
    raise InputError(f"{name} is a {type(x).__name__} that makes no array")
  made_here = not isinstance(x, np.ndarray) and found.dtype == np.float64
  return found.astype(np.float32) if made_here else found
