"""All methods on the same test tasks, and how long generation takes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mcdi_jax.baselines import Method, finetune_trials, prototypes
from mcdi_jax.data import ClassSet
from mcdi_jax.evaluation import (
  Facts,
  accuracy_line,
  choose,
  correct_counts,
  latency_line,
  matmul_peak,
  measure,
  task_keys,
)
from mcdi_jax.evaluation.latency import program_flops
from mcdi_jax.generator import Generator, generate_from_features
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline.backbone import Features
from mcdi_jax.pipeline.config import Config
from mcdi_jax.tasks import Protocol, Support

LATENCY_BATCHES = (1, 256)


def generated(name: str, generator: Generator, temperature: float) -> Method:
  """A generator as a method among the others."""
  d = generator.spec.diffusion
  settings = {
    "k": d.segments,
    "T": d.steps,
    "loss": f"{d.objective}, {d.form}",
    "sampler": d.sampler_name + (", ancestral" if d.ancestral else ""),
    "handover": d.handover,
    "temperature": temperature,
    "network": generator.spec.score.network,
    "base": generator.spec.base,
  }
  return Method(name, _adapt, (generator, temperature), settings)


def _adapt(variables: tuple[Generator, Any], support: Support, key: Any, ways: int) -> Any:
  generator, temperature = variables
  return generate_from_features(generator, support, key, temperature=temperature, ways=ways)


def evaluate(
  config: Config,
  facts: Facts,
  generators: dict[str, tuple[Generator, float]],
  features: Features,
) -> list[dict[str, Any]]:
  """Accuracy lines of one seed: for each form of task and each way to take the test
  classes, the generators, prototypes and fine-tuning on the same tasks."""
  settings = config.evaluation
  tests = {f"{facts.data}-{features.upright_test.classes}": features.upright_test}
  if config.data.rotations:
    tests[f"{facts.data}-{features.upright_test.classes}-rotated"] = features.test
  lines = []
  for form in config.forms:
    tuning = task_keys(settings.eval_seed + 1, settings.tuning_tasks)
    trials = finetune_trials(settings.finetune_trials)
    CONSOLE.print(f"{form}: choosing among {len(trials)} settings of fine-tuning")
    tuned = choose(trials, features.val, form, tuning)
    methods = [
      generated(name, generator, settings.temperature)
      for name, (generator, _) in generators.items()
    ] + [prototypes(), tuned]
    for protocol, test in tests.items():
      lines += _compare(config, facts, methods, generators, form, protocol, test)
  return lines


def _compare(
  config: Config,
  facts: Facts,
  methods: list[Method],
  generators: dict[str, tuple[Generator, float]],
  form: Protocol,
  protocol: str,
  test: ClassSet,
) -> list[dict[str, Any]]:
  """Lines of all methods on one list of test tasks; the first method is `generated`."""
  keys = task_keys(config.evaluation.eval_seed, config.evaluation.tasks)
  first, lines = None, []
  for method in methods:
    CONSOLE.print(f"{form}, {protocol}: {method.name} on {len(keys)} tasks")
    correct = correct_counts(method, test, form, keys)
    values: dict[str, Any] = {"settings": method.settings}
    if method.name in generators:
      generator, seconds = generators[method.name]
      leaves = jax.tree.leaves(generator.score)
      values |= {"parameters": sum(p.size for p in leaves), "budget_s": seconds}
    paired = first if method.name != "generated" else None
    lines.append(
      accuracy_line(facts, method.name, protocol, form, correct, paired, **values)
    )
    first = correct if method.name == "generated" else first
  return lines


def time_generation(
  config: Config, facts: Facts, generator: Generator, form: Protocol
) -> list[dict[str, Any]]:
  """Latency lines: of 1 and 256 tasks, from features and from images."""
  CONSOLE.print(f"{form}: timing generation")
  peak = matmul_peak()
  label = jnp.repeat(jnp.arange(form.ways), form.shots)
  backbone = generator.spec.backbone.apply
  temperature = config.evaluation.temperature

  def from_features(g: Generator, x: Any, key: Any) -> Any:
    support = Support(x, label)
    return generate_from_features(g, support, key, temperature=temperature, ways=form.ways)

  def from_images(g: Generator, x: Any, key: Any) -> Any:
    return from_features(g, backbone(g.backbone, x), key)

  lines = []
  key = jax.random.key(0)
  images = jax.random.uniform(key, (len(label), *generator.spec.image_shape))
  inputs = {
    "latency-head": (from_features, backbone(generator.backbone, images)),
    "latency-backbone": (from_images, images),
  }
  for protocol, (fn, x) in inputs.items():
    for batch in LATENCY_BATCHES:
      many = jax.jit(jax.vmap(fn, in_axes=(None, 0, 0)) if batch > 1 else fn)
      xs = jnp.tile(x[None], (batch,) + (1,) * x.ndim) if batch > 1 else x
      keys = jax.random.split(key, batch) if batch > 1 else key
      flops = _head_flops(generator, form, batch) if fn is from_features else 0.0
      calls = config.evaluation.latency_calls
      found = measure(many, generator, xs, keys, batch=batch, calls=calls, flops=flops)
      settings = {"compile_s": round(found.compile_s, 2)}
      if flops:
        settings["share_of_matmul_peak"] = found.flops_per_s / peak
        settings["matmul_peak_gflops"] = peak / 1e9
      lines.append(latency_line(facts, protocol, form, found, settings=settings))
  return lines


def _head_flops(generator: Generator, form: Protocol, batch: int) -> float:
  """Of the condition and T evaluations of the score network; a loop's body counts once
  in XLA's analysis, so the two are counted apart."""
  width = generator.space.width
  shots = jnp.zeros((batch, form.ways, form.shots, width - 1))
  x = jnp.zeros((batch, form.ways, width))
  condition = jax.vmap(generator.condition)
  step = jax.vmap(lambda c, x: generator.predict(c, x, 0))
  once = program_flops(condition, shots)
  each = program_flops(step, condition(shots), x)
  return once + generator.spec.diffusion.steps * each


def result_facts(config: Config, data: str, seed: int) -> Facts:
  return Facts(
    data=data,
    seed=seed,
    eval_seed=config.evaluation.eval_seed,
    backbone=f"conv4-{config.backbone.width}",
    config=content_hash(
      dataclasses.replace(config, seeds=(seed,), backbone_dir="", bank_dir="")
    ),
    matmul_precision=config.matmul_precision,
  )
