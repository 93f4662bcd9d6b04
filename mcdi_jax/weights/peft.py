"""Adapters of Llama-style models in the layout of the library `peft`, which other tools
load: `adapter_model.safetensors` and `adapter_config.json`."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.networks import Params
from mcdi_jax.networks.llama import MATRICES
from mcdi_jax.weights.leaves import leaves_by_path, nested

CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model.model.layers."
_MADE_HERE = {"format": "pt", "made_by": "mcdi_jax"}
_NAME = re.compile(re.escape(_PREFIX) + r"(\d+)\.(.+)\.lora_([AB])\.weight")


def write_peft(folder: PathLike, a: Params, b: Params, *, base: str = "") -> None:
  """Writes A [in, r] and B [r, out] of A B, which is added to a matrix [in, out]; `peft`
  has both transposed, and A also where it is the same for all.

  Args:
    a, b: with the paths of the adapted matrices, such as `blocks/0/q`.
    base: the model's name or folder, for tools that look for it.
  """
  tensors, ranks, names = {}, set(), set()
  own = leaves_by_path(a)
  for path, leaf in leaves_by_path(b).items():
    layer, name = _place(path)
    place = f"{_PREFIX}{layer}.{MATRICES[name]}"
    tensors[f"{place}.lora_A.weight"] = np.ascontiguousarray(np.asarray(own[path]).T)
    tensors[f"{place}.lora_B.weight"] = np.ascontiguousarray(np.asarray(leaf).T)
    ranks.add(leaf.shape[0])
    names.add(MATRICES[name].rsplit(".", 1)[1])
  (rank,) = ranks
  config = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": base,
    "r": rank,
    "lora_alpha": rank,  # so that the scale is 1
    "lora_dropout": 0.0,
    "target_modules": sorted(names),
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
  }
  place = files.as_path(folder)
  place.mkdir(parents=True, exist_ok=True)
  files.write_arrays(place / _WEIGHTS, tensors, _MADE_HERE)
  files.write_json(place / CONFIG, config)


def is_made_here(folder: PathLike) -> bool:
  """Whether `write_peft` wrote what lies there."""
  path = files.as_path(folder) / _WEIGHTS
  try:
    return files.read_arrays_and_metadata(path)[1] == _MADE_HERE
  except InputError:
    return False


def _place(path: str) -> tuple[str, str]:
  """Layer and name of a matrix within the blocks."""
  parts = path.split("/")
  if len(parts) != 3 or parts[0] != "blocks" or parts[2] not in MATRICES:
    raise InputError(
      f"leaf {path} is no matrix of a block: this layout has adapters of "
      f"blocks/N/NAME, NAME of {sorted(MATRICES)}"
    )
  return parts[1], parts[2]


def read_peft(folder: PathLike) -> tuple[Params, Params]:
  """A and B as `write_peft` takes them, the scale lora_alpha / r in B.

  Raises:
    MissingError: no such files.
    InputError: adapters of another kind, or of matrices that a Llama has not.
  """
  place = files.as_path(folder)
  for name in (CONFIG, _WEIGHTS):
    if not (place / name).exists():
      raise MissingError(f"there is no {place / name}: give a folder that peft wrote")
  config = files.read_json(place / CONFIG, "r", "lora_alpha")
  kind, where = config.get("peft_type"), f"of {place / CONFIG}"
  check(kind == "LORA", f"peft_type {where}", kind, "this reads 'LORA' alone")
  own_scales = ("alpha_pattern", "rank_pattern")
  for name in ("use_dora", "use_rslora", "fan_in_fan_out", *own_scales):
    on = config.get(name, False)
    check(not on, f"{name} {where}", on, "this reads adapters without it")
  bias = config.get("bias", "none")
  check(bias == "none", f"bias {where}", bias, "this reads adapters without biases")
  scale = config["lora_alpha"] / config["r"]
  known = {name: own for own, name in MATRICES.items()}
  found: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
  for name, array in files.read_arrays(place / _WEIGHTS).items():
    parts = _NAME.fullmatch(name)
    if parts is None or parts[2] not in known:
      raise InputError(f"{place / _WEIGHTS} has {name!r}: a Llama has no such matrix")
    factor = scale if parts[3] == "B" else 1.0
    leaf = jnp.asarray(array.T, jnp.float32) * factor
    found[parts[3]][f"blocks/{parts[1]}/{known[parts[2]]}"] = leaf
  if found["A"].keys() != found["B"].keys() or not found["A"]:
    raise DamagedError(
      f"{place / _WEIGHTS} has A without B, or neither: bring another copy"
    )
  return nested(found["A"]), nested(found["B"])
