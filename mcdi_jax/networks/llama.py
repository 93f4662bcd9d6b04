"""Llama-style language models (Touvron et al. 2023), from folders in the Hugging Face
layout: attention in groups of heads (Ainslie et al. 2023), rotary positions (Su et al.
2021), gated MLPs (Shazeer 2020), and normalisation by the root mean square.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mcdi_jax.lib.config import check
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.hugging_face import Tensors, check_numbers, read_config, read_tensors
from mcdi_jax.networks.network import Params

_NUMBERS = (
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "vocab_size",
)
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
_NORMS = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}


class Stretched(NamedTuple):
  """Rotary frequencies for longer texts, as Llama 3 has them: those of wavelengths above
  `original / low` are divided by `factor`, those below `original / high` stay, and between
  they are mixed."""

  factor: float
  low: float
  high: float
  original: int


class LlamaForm(NamedTuple):
  """Static.

  Attributes:
    heads, groups: of the attention: of queries, and of keys and values.
    size: coordinates of a head.
    epsilon: of the normalisation.
    theta: base of the rotary frequencies.
    stretched: how these are changed for longer texts.
    most: tokens that the network can see.
  """

  heads: int
  groups: int
  size: int
  epsilon: float
  theta: float
  stretched: Stretched | None
  most: int


def read_llama(folder: PathLike, *, setting: str = "--base") -> tuple[LlamaForm, Params]:
  """Params: `word` [V, D], `blocks` with the matrices [in, out] of each layer, `last` [D],
  and `head` [V, D] where it is not `word`.

  Args:
    setting: where the folder was given, for errors.

  Raises:
    MissingError, InputError: no such folder, or the checkpoint of another network.
  """
  config = read_config(folder, setting=setting)
  kind = config.get("model_type")
  check(kind == "llama", "model_type of config.json", kind, "this reads 'llama' alone")
  check_numbers(config, _NUMBERS)
  for name in ("attention_bias", "mlp_bias"):
    on = config.get(name, False)
    check(not on, f"{name} of config.json", on, "this reads checkpoints without biases")
  act = config.get("hidden_act", "silu")
  check(act == "silu", "hidden_act of config.json", act, "this knows 'silu' alone")
  form = _form(config)
  tensors = read_tensors(folder, "model.")
  return form, jax.tree.map(jnp.asarray, _params(config, form, tensors))


def _form(config: dict[str, Any]) -> LlamaForm:
  heads, width = config["num_attention_heads"], config["hidden_size"]
  groups = config.get("num_key_value_heads") or heads
  remedy = f"it must divide num_attention_heads {heads}"
  whole = isinstance(groups, int) and groups > 0 and heads % groups == 0
  check(whole, "num_key_value_heads of config.json", groups, remedy)
  size = config.get("head_dim") or width // heads
  check(size % 2 == 0, "head_dim of config.json", size, "rotary positions need an even one")
  rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
  theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
  most = config.get("max_position_embeddings", 2048)
  epsilon = config.get("rms_norm_eps", 1e-6)
  return LlamaForm(heads, groups, size, epsilon, theta, _stretched(rope), most)


def _stretched(rope: dict[str, Any]) -> Stretched | None:
  kind = rope.get("rope_type", rope.get("type", "default"))
  remedy = "this knows 'default' and 'llama3'"
  check(kind in ("default", "llama3"), "rope_type of config.json", kind, remedy)
  if kind == "default":
    return None
  names = ("factor", "low_freq_factor", "high_freq_factor")
  return Stretched(
    *(rope[name] for name in names), rope["original_max_position_embeddings"]
  )


def _shapes(config: dict[str, Any], form: LlamaForm) -> dict[str, tuple[int, int]]:
  """[out, in] of each of `MATRICES`, as files have them."""
  width, hidden = config["hidden_size"], config["intermediate_size"]
  queries, keys = form.heads * form.size, form.groups * form.size
  return {
    "q": (queries, width),
    "k": (keys, width),
    "v": (keys, width),
    "o": (width, queries),
    "gate": (hidden, width),
    "up": (hidden, width),
    "down": (width, hidden),
  }


def _params(config: dict[str, Any], form: LlamaForm, tensors: Tensors) -> Params:
  width, layers = config["hidden_size"], config["num_hidden_layers"]
  blocks = []
  for n in range(layers):
    take = lambda name, *shape: tensors.take(f"layers.{n}.{name}.weight", *shape)  # noqa: B023, E731
    block = {own: take(name, width) for own, name in _NORMS.items()}
    for own, shape in _shapes(config, form).items():
      block[own] = take(MATRICES[own], *shape).T
    blocks.append(block)
  words = (config["vocab_size"], width)
  params = {
    "word": tensors.take("embed_tokens.weight", *words),
    "blocks": blocks,
    "last": tensors.take("norm.weight", width),
  }
  if not config.get("tie_word_embeddings", False):
    params["head"] = tensors.take("lm_head.weight", *words)
  return params


def logits(
  form: LlamaForm, params: Params, ids: Int[Array, "n t"]
) -> Float[Array, "n t V"]:
  """Of the token after each, which sees those before it."""
  x = hidden_states(form, params, ids)
  return x @ params.get("head", params["word"]).T


def hidden_states(
  form: LlamaForm, params: Params, ids: Int[Array, "n t"]
) -> Float[Array, "n t D"]:
  """Of the last layer, normalised."""
  length = ids.shape[1]
  rotation = rotations(form, length)
  earlier = jnp.tri(length, dtype=bool)
  x = params["word"][ids]
  for block in params["blocks"]:
    x = x + _attended(form, block, _scaled(form, block["norm1"], x), rotation, earlier)
    given = _scaled(form, block["norm2"], x)
    hidden = jax.nn.silu(given @ block["gate"]) * (given @ block["up"])
    x = x + hidden @ block["down"]
  return _scaled(form, params["last"], x)


def _attended(
  form: LlamaForm,
  block: Params,
  x: Float[Array, "n t D"],
  rotation: tuple[Array, Array],
  seen: Bool[Array, "t t"],
) -> Float[Array, "n t D"]:
  n, length, _ = x.shape
  heads = lambda name: (x @ block[name]).reshape(n, length, -1, form.size)  # noqa: E731
  q, k = (_rotated(heads(name), rotation) for name in "qk")
  found = jax.nn.dot_product_attention(q, k, heads("v"), mask=seen)
  return found.reshape(n, length, -1) @ block["o"]


def rotations(
  form: LlamaForm, length: int
) -> tuple[Float[Array, "t h"], Float[Array, "t h"]]:
  """Cosines and sines of the angles of each place, of half the coordinates of a head."""
  frequency = form.theta ** -(np.arange(0, form.size, 2) / form.size)
  if form.stretched:
    factor, low, high, original = form.stretched
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
  form: LlamaForm, gain: Float[Array, " D"], x: Float[Array, "n t D"]
) -> Float[Array, "n t D"]:
  return gain * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + form.epsilon)


def half_split(
  matrix: Float[np.ndarray, "o i"], size: int, *, back: bool = False
) -> Float[np.ndarray, "o i"]:
  """A matrix of queries or keys, whose rotary pairs lie side by side, with its rows in the
  order of this layout, head by head; or the other way."""
  pairs = matrix.reshape(-1, *((2, size // 2) if back else (size // 2, 2)), matrix.shape[1])
  return pairs.swapaxes(1, 2).reshape(matrix.shape)
