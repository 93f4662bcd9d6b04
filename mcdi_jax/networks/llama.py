"""Llama-style language models (Touvron et al. 2023): attention in groups of heads (Ainslie
et al. 2023), rotary positions (Su et al. 2021), gated MLPs (Shazeer 2020), and
normalisation by the root mean square. `llama_checkpoint.py` reads and writes them.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mcdi_jax.networks.network import Params

MATRICES = {
  "q": "self_attn.q_proj",
  "k": "self_attn.k_proj",
  "v": "self_attn.v_proj",
  "o": "self_attn.o_proj",
  "gate": "mlp.gate_proj",
  "up": "mlp.up_proj",
  "down": "mlp.down_proj",
}
"""Of a layer: the name here, and in checkpoints after `model.layers.N.`."""
NORMS = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
"""The same of the gains before attention and before the MLP."""


class Stretched(NamedTuple):
  """Rotary frequencies for longer texts, as Llama 3 has them: those of wavelengths above
  `original / low` are divided by `factor`, those below `original / high` stay, and between
  they are mixed."""

  factor: float
  low: float
  high: float
  original: float


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
  """Sizes, and what else there is to choose.

  Attributes:
    vocabulary: tokens that there are.
    width: coordinates of a token's state; `hidden`: units of an MLP.
    heads, groups: of the attention: of queries, and of keys and values.
    size: coordinates of a head.
    epsilon: of the normalisation.
    theta: base of the rotary frequencies.
    stretched: the numbers of `Stretched`; empty: frequencies are as they are.
    most: tokens that the network can see.
    tied: whether the matrix of the outputs is that of the words.
  """

  vocabulary: int = 512
  width: int = 64
  hidden: int = 172
  layers: int = 5
  heads: int = 8
  groups: int = 4
  size: int = 8
  epsilon: float = 1e-5
  theta: float = 10000.0
  stretched: tuple[float, ...] = ()
  most: int = 512
  tied: bool = True

  @property
  def shapes(self) -> dict[str, tuple[int, int]]:
    """[in, out] of each of `MATRICES`."""
    width, queries, keys = self.width, self.heads * self.size, self.groups * self.size
    return {
      "q": (width, queries),
      "k": (width, keys),
      "v": (width, keys),
      "o": (queries, width),
      "gate": (width, self.hidden),
      "up": (width, self.hidden),
      "down": (self.hidden, width),
    }


def init_llama(config: LlamaConfig, key: Key[Array, ""]) -> Params:
  """Gaussian matrices of variance 1/inputs; params as `read_llama` has them."""
  keys = iter(jax.random.split(key, 2 + 7 * config.layers))
  drawn = lambda rows, *shape: jax.random.normal(next(keys), shape) * rows**-0.5  # noqa: E731
  blocks = []
  for _ in range(config.layers):
    block = {name: jnp.ones(config.width) for name in NORMS}
    blocks.append(block | {n: drawn(s[0], *s) for n, s in config.shapes.items()})
  words = (config.vocabulary, config.width)
  params = {"word": drawn(config.width, *words), "blocks": blocks}
  params["last"] = jnp.ones(config.width)
  return params if config.tied else {**params, "head": drawn(config.width, *words)}


def logits(
  config: LlamaConfig, params: Params, ids: Int[Array, "n t"]
) -> Float[Array, "n t V"]:
  """Of the token after each, which sees those before it."""
  x = hidden_states(config, params, ids)
  return _linear(params.get("head", params["word"]).T, x)


def hidden_states(
  config: LlamaConfig, params: Params, ids: Int[Array, "n t"]
) -> Float[Array, "n t D"]:
  """Of the last layer, normalised."""
  length = ids.shape[1]
  rotation = rotations(config, length)
  earlier = jnp.tri(length, dtype=bool)
  x = params["word"][ids]
  for block in params["blocks"]:
    x = x + _attended(config, block, _scaled(config, block["norm1"], x), rotation, earlier)
    given = _scaled(config, block["norm2"], x)
    hidden = jax.nn.silu(_linear(block["gate"], given)) * _linear(block["up"], given)
    x = x + _linear(block["down"], hidden)
  return _scaled(config, params["last"], x)


def _attended(
  config: LlamaConfig,
  block: Params,
  x: Float[Array, "n t D"],
  rotation: tuple[Array, Array],
  seen: Bool[Array, "t t"],
) -> Float[Array, "n t D"]:
  n, length, _ = x.shape
  heads = lambda name: _linear(block[name], x).reshape(n, length, -1, config.size)  # noqa: E731
  q, k = (_rotated(heads(name), rotation) for name in "qk")
  found = jax.lax.platform_dependent(
    q, k, heads("v"), seen, cpu=_by_matmuls, default=_fused
  )
  return _linear(block["o"], found.reshape(n, length, -1))


def _fused(
  q: Float[Array, "n t h s"],
  k: Float[Array, "n t g s"],
  v: Float[Array, "n t g s"],
  seen: Bool[Array, "t t"],
) -> Float[Array, "n t h s"]:
  return jax.nn.dot_product_attention(q, k, v, mask=seen)


def _by_matmuls(
  q: Float[Array, "n t h s"],
  k: Float[Array, "n t g s"],
  v: Float[Array, "n t g s"],
  seen: Bool[Array, "t t"],
) -> Float[Array, "n t h s"]:
  """As products of three axes, divided by the sums at the end: on CPU the gradient is twice
  as fast."""
  n, length, heads, size = q.shape
  each = lambda x: jnp.repeat(x, heads // x.shape[2], 2)  # noqa: E731
  flat = lambda x: jnp.swapaxes(each(x), 1, 2).reshape(-1, length, size)  # noqa: E731
  q, k, v = map(flat, (q, k, v))
  weights = jnp.where(seen, q @ jnp.swapaxes(k, 1, 2) * size**-0.5, -jnp.inf)
  weights = jnp.exp(weights - jax.lax.stop_gradient(weights.max(-1, keepdims=True)))
  found = (weights @ v) / weights.sum(-1, keepdims=True)
  return jnp.swapaxes(found.reshape(n, heads, length, size), 1, 2)


def _linear(matrix: Float[Array, "a b"], x: Float[Array, "n t a"]) -> Float[Array, "n t b"]:
  """As a product of two matrices, whose gradient is one, too: on CPU a sum over several
  axes is ten times as slow."""
  return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def rotations(
  config: LlamaConfig, length: int
) -> tuple[Float[Array, "t h"], Float[Array, "t h"]]:
  """Cosines and sines of the angles of each place, of half the coordinates of a head."""
  frequency = config.theta ** -(np.arange(0, config.size, 2) / config.size)
  if config.stretched:
    factor, low, high, original = Stretched(*config.stretched)
    share = (original * frequency / (2 * np.pi) - low) / (high - low)
    share = np.clip(share, 0, 1)  # of the frequency as it is
    frequency = (1 - share) * frequency / factor + share * frequency
  angle = np.arange(length)[:, None] * frequency
  return jnp.float32(np.cos(angle)), jnp.float32(np.sin(angle))


def _rotated(
  x: Float[Array, "n t m s"], rotation: tuple[Array, Array]
) -> Float[Array, "n t m s"]:
  """Coordinate i of a head turns with coordinate i + s/2."""
  cosine, sine = (part[:, None] for part in rotation)
  first, second = jnp.split(x, 2, -1)
  turned = (first * cosine - second * sine, second * cosine + first * sine)
  return jnp.concatenate(turned, -1)


def _scaled(
  config: LlamaConfig, gain: Float[Array, " D"], x: Float[Array, "n t D"]
) -> Float[Array, "n t D"]:
  return gain * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + config.epsilon)


def half_split(
  matrix: Float[np.ndarray, "o i"], size: int, *, back: bool = False
) -> Float[np.ndarray, "o i"]:
  """A matrix of queries or keys, whose rotary pairs lie side by side, with its rows in the
  order of this layout, head by head; or the other way."""
  pairs = matrix.reshape(-1, *((2, size // 2) if back else (size // 2, 2)), matrix.shape[1])
  return pairs.swapaxes(1, 2).reshape(matrix.shape)
