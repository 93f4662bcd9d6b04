"""Encoders side by side with PyTorch, each in an environment of its own.

  peers/bin/python tests/peers.py write /tmp/peers --efficientnet efficientnet-lite0-….pth
  python tests/peers.py check /tmp/peers --efficientnet efficientnet-lite0-….pth

Both take `--sentence FOLDER`, too, a checkpoint such as MiniLM-L6's with its tokenizer.

The first needs `pip install torch transformers peft` (the extra `peers`) and writes small
random checkpoints with their features; the second, in this project's environment, prints
the largest difference of ours. Nothing of the package imports PyTorch.
"""

import argparse
from pathlib import Path

import numpy as np

TEXTS = ("how much is my balance?", "a", "what is the weather in the city tomorrow")
SIZES = (56, 84)  # the checkpoint's own, and another
STAGES = [  # blocks, kernel, stride, expansion, channels
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
]


def write(out: Path, efficientnet: str, sentence: str) -> None:
  import torch

  torch.manual_seed(0)
  _write_images(out, efficientnet)
  _write_texts(out, sentence)


def _write_texts(out: Path, sentence: str) -> None:
  """Hidden states of token ids, some of which do not count, and features of texts."""
  import torch
  from peft import LoraConfig, get_peft_model
  from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaModel,
  )

  shape = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
  shape |= {"vocab_size": 60, "intermediate_size": 96, "max_position_embeddings": 40}
  models = {
    "bert": BertModel(BertConfig(**shape)),
    "roberta": RobertaModel(RobertaConfig(**shape, pad_token_id=1)),
  }
  for name, model in models.items():
    for parameter in model.parameters():
      parameter.data += 0.2 * torch.randn_like(parameter)
    model.eval().save_pretrained(out / name)
    ids = torch.randint(2, 60, (3, 20))
    mask = torch.arange(20) < torch.tensor([[20], [7], [1]])
    filled = torch.where(mask, ids, 1 if name == "roberta" else 0)
    with torch.no_grad():
      y = model(filled, attention_mask=mask.long()).last_hidden_state
    np.savez(out / f"{name}.npz", ids=ids.numpy(), mask=mask.numpy(), y=y.numpy())
  shape |= {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": False}
  stretched = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0}
  stretched |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
  stretched |= {"original_max_position_embeddings": 40}
  for name, rope in (("llama", {"rope_theta": 100.0}), ("llama3", stretched)):
    model = LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=rope))
    for parameter in model.parameters():
      parameter.data += 0.2 * torch.randn_like(parameter)
    model.eval().save_pretrained(out / name)
    ids = torch.randint(0, 60, (2, 30))
    with torch.no_grad():
      np.savez(out / f"{name}.npz", ids=ids.numpy(), y=model(ids).logits.numpy())
  asked = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear")
  model = get_peft_model(model, asked).eval()  # that of llama3
  for name, parameter in model.named_parameters():
    if "lora_B" in name:
      parameter.data += 0.2 * torch.randn_like(parameter)
  model.save_pretrained(out / "adapter")
  with torch.no_grad():
    np.savez(out / "adapter.npz", ids=ids.numpy(), y=model(ids).logits.numpy())
  if sentence:
    tokenizer = AutoTokenizer.from_pretrained(sentence)
    batch = tokenizer([*TEXTS], padding=True, return_tensors="pt")
    with torch.no_grad():
      y = AutoModel.from_pretrained(sentence).eval()(**batch).last_hidden_state
    count = batch["attention_mask"][..., None].float()
    np.savez(out / "sentence.npz", y=((y * count).sum(1) / count.sum(1)).numpy())


def _write_images(out: Path, efficientnet: str) -> None:
  import torch
  from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
  )

  shape = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
  shape |= {"image_size": SIZES[0], "patch_size": 14}
  clip = CLIPVisionConfig(**shape, intermediate_size=96, projection_dim=24)
  models = {
    "dinov2": Dinov2Model(Dinov2Config(**shape)),
    "clip": CLIPVisionModelWithProjection(clip),
  }
  for name, model in models.items():
    for parameter in model.parameters():
      parameter.data += 0.2 * torch.randn_like(parameter)
    model.eval().save_pretrained(out / name)
    for size in SIZES:
      x = torch.randn(2, 3, size, size)
      more = {"interpolate_pos_encoding": size != SIZES[0]} if name == "clip" else {}
      with torch.no_grad():
        found = model(x, **more)
      y = found.image_embeds if name == "clip" else found.pooler_output
      np.savez(out / f"{name}-{size}.npz", x=x.numpy(), y=y.numpy())
  if efficientnet:
    x = torch.randn(4, 3, 96, 128)
    y = _efficientnet(torch.load(efficientnet, map_location="cpu"), x)
    np.savez(out / "efficientnet-lite0.npz", x=x.numpy(), y=y.numpy())


def _efficientnet(sd, x):  # type: ignore[no-untyped-def]
  """Plainly, from the names of the checkpoint."""
  import torch
  import torch.nn.functional as F

  def same(x, k, s):  # type: ignore[no-untyped-def]
    pads = [max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[2:]]
    (a, b) = pads
    return F.pad(x, (b // 2, b - b // 2, a // 2, a - a // 2))

  def norm(x, name):  # type: ignore[no-untyped-def]
    parts = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(sd[f"{name}.{p}"] for p in parts), False, 0, 1e-3)

  def conv(x, name, **more):  # type: ignore[no-untyped-def]
    return F.conv2d(x, sd[f"{name}.weight"], **more)

  with torch.no_grad():
    x = F.relu6(norm(conv(same(x, 3, 2), "_conv_stem", stride=2), "_bn0"))
    number, channels = 0, 32
    for blocks, k, stride, expansion, out in STAGES:
      for n in range(blocks):
        s, p, y = stride if n == 0 else 1, f"_blocks.{number}", x
        if expansion > 1:
          y = F.relu6(norm(conv(y, f"{p}._expand_conv"), f"{p}._bn0"))
        groups = {"stride": s, "groups": y.shape[1]}
        y = F.relu6(
          norm(conv(same(y, k, s), f"{p}._depthwise_conv", **groups), f"{p}._bn1")
        )
        y = norm(conv(y, f"{p}._project_conv"), f"{p}._bn2")
        x = x + y if s == 1 and channels == out else y
        number, channels = number + 1, out
    return F.relu6(norm(conv(x, "_conv_head"), "_bn1")).mean((2, 3))


def check(out: Path, efficientnet: str, sentence: str) -> None:
  _check_images(out, efficientnet)
  _check_texts(out, sentence)


def _check_texts(out: Path, sentence: str) -> None:
  import jax.numpy as jnp

  from mcdi_jax.encoders.bert import hidden_states, read_bert
  from mcdi_jax.networks.llama import logits
  from mcdi_jax.networks.llama_checkpoint import read_llama
  from mcdi_jax.pipeline.embedding import Embedder, open_encoder
  from mcdi_jax.weights.lora import merge_adapters
  from mcdi_jax.weights.peft import read_peft

  for name in ("bert", "roberta"):
    (form, params), pair = (
      read_bert(out / name, setting="--sentence"),
      np.load(out / f"{name}.npz"),
    )
    found = hidden_states(form, params, pair["ids"], pair["mask"])
    _say(name, np.asarray(found)[pair["mask"]], pair["y"][pair["mask"]])
  for name in ("llama", "llama3"):
    (form, params), pair = read_llama(out / name), np.load(out / f"{name}.npz")
    _say(name, np.asarray(logits(form, params, jnp.asarray(pair["ids"]))), pair["y"])
  a, b = read_peft(out / "adapter")
  params, pair = (
    merge_adapters({"base": params, "a": a, "b": b}),
    np.load(out / "adapter.npz"),
  )
  _say("adapter", np.asarray(logits(form, params, jnp.asarray(pair["ids"]))), pair["y"])
  if sentence:
    y = np.load(out / "sentence.npz")["y"]
    _say("sentence", Embedder(open_encoder("bert", sentence))(TEXTS), y)


def _say(name: str, found: np.ndarray, expected: np.ndarray) -> None:
  difference = float(abs(found - expected).max())
  print(f"{name}: largest difference {difference:.1e} of {abs(expected).max():.1f}")


def _check_images(out: Path, efficientnet: str) -> None:
  from mcdi_jax.encoders import ENCODERS

  places = {f"{name}-{size}": out / name for name in ("dinov2", "clip") for size in SIZES}
  if efficientnet:
    places["efficientnet-lite0"] = Path(efficientnet)
  for file, weights in places.items():
    name = file if file in ENCODERS else file.rsplit("-", 1)[0]
    encoder, pair = ENCODERS[name](weights), np.load(out / f"{file}.npz")
    found = encoder.apply(encoder.params, pair["x"].transpose(0, 2, 3, 1))
    _say(file, np.asarray(found), pair["y"])


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("what", choices=("write", "check"))
  parser.add_argument("out", type=Path)
  parser.add_argument("--efficientnet", default="")
  parser.add_argument("--sentence", default="")
  given = parser.parse_args()
  given.out.mkdir(parents=True, exist_ok=True)
  {"write": write, "check": check}[given.what](
    given.out, given.efficientnet, given.sentence
  )
