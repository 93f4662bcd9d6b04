"""`run(config, workdir)`: all stages in order, for one seed after the other."""

from typing import Any

import jax

from mcdi_jax.diffusion import chain, make_schedule, make_segments
from mcdi_jax.evaluation import pictures, print_table
from mcdi_jax.lib import files, outputs, provenance
from mcdi_jax.lib.config import check
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import Path, PathLike
from mcdi_jax.lib.keys import key_for
from mcdi_jax.lib.progress import CONSOLE, stage
from mcdi_jax.methods import generated
from mcdi_jax.pipeline.adapters import ADAPTERS_USE
from mcdi_jax.pipeline.bank import prepare_banks
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.documents import DOCUMENTS_USE
from mcdi_jax.pipeline.domains import DOMAINS_USE
from mcdi_jax.pipeline.evaluation import evaluate
from mcdi_jax.pipeline.facts import result_facts
from mcdi_jax.pipeline.features import FEATURES_USE
from mcdi_jax.pipeline.fields import FIELDS_USE
from mcdi_jax.pipeline.generator import Material
from mcdi_jax.pipeline.heads import HEADS_USE
from mcdi_jax.pipeline.networks import NETWORKS_USE
from mcdi_jax.pipeline.sentences import SENTENCES_USE
from mcdi_jax.pipeline.tuning import Tuned, tuned_generator
from mcdi_jax.pipeline.use import Prepared, Stage, Use, cache
from mcdi_jax.pipeline.workdir import claim, gather_results, read_results, write_results
from mcdi_jax.report import write_report

USES = {
  "adapters": ADAPTERS_USE,
  "documents": DOCUMENTS_USE,
  "domains": DOMAINS_USE,
  "heads": HEADS_USE,
  "features": FEATURES_USE,
  "fields": FIELDS_USE,
  "networks": NETWORKS_USE,
  "sentences": SENTENCES_USE,
}


def run(config: Config, workdir: PathLike, use: Use | None = None) -> list[dict[str, Any]]:
  """Runs or continues the chain in `workdir`; returns the lines of `results.jsonl`.

  Args:
    use: one of a user's own, as `own_use` gives it; None: the config's family.

  Raises:
    InputError: the workdir belongs to another config or process; data too small; …
  """
  use = use or _known_use(config)
  workdir = outputs.checked(workdir, "--workdir", folder=True)
  provenance.commit()  # as it is now: files may change while this runs
  precision = jax.default_matmul_precision(config.matmul_precision)
  for name in ("backbone_dir", "bank_dir"):
    if place := getattr(config, name):
      outputs.checked(place, f"config.{name}", folder=True)
  with stage("total"), files.exclusive(workdir), precision:
    data = use.load(config)
    use.check(config, data)
    data = claim(config, data, workdir)
    _print_chain(config)
    for seed in config.seeds:
      _run_seed(config, use, data, seed, workdir)
      lines = gather_results(config, workdir)
    print_table(lines)
    CONSOLE.print(f"results: {workdir / 'results.jsonl'}")
    CONSOLE.print(f"report: {write_report(workdir)}")
  return lines


def _known_use(config: Config) -> Use:
  remedy = "give --config the file that has FAMILY and get_suite"
  check(config.family in USES, "config.family", config.family, remedy)
  return USES[config.family]


def _run_seed(config: Config, use: Use, data: Any, seed: int, workdir: Path) -> None:
  """The whole chain of one seed."""
  prefix = f"seed {seed}, " if len(config.seeds) > 1 else ""
  timed: Stage = lambda title: stage(prefix + title)  # noqa: E731
  prepared = use.prepare(config, data, seed, workdir, timed)
  with timed("bank"):
    directory = cache(config.bank_dir, workdir / "bank")
    bank = prepare_banks(config, prepared, directory)
    bank.at(0)
  metrics = workdir / "metrics.jsonl"
  parts = (prepared.family, prepared.frozen, bank, prepared.suite.val)
  material = Material(*parts, metrics, prepared.about)
  found: dict[str, Tuned] = {}
  choices = workdir / "tuning"
  for name in config.generators:
    main = name == config.generators[0]
    place = workdir / f"seed_{seed}" / ("" if main else name)
    with timed(name):
      found[name] = tuned_generator(config, name, seed, material, place, found, choices)
  if read_results(workdir, seed) is None:
    facts = result_facts(config, data, prepared, seed)
    rivals = use.rivals(config, prepared)
    with timed("evaluation"):
      given = (config, facts, found, bank.at(0), prepared.suite, rivals, choices)
      lines = (use.evaluate or evaluate)(*given)
    write_results(workdir, seed, lines)
  if seed == config.seeds[0]:
    with timed("pictures"):
      _draw(config, use, data, prepared, found, workdir)


def _draw(
  config: Config,
  use: Use,
  data: Any,
  prepared: Prepared,
  generators: dict[str, Tuned],
  workdir: Path,
) -> None:
  """What the report shows: of the first generator its chain, and answers."""
  path = workdir / "pictures.safetensors"
  try:
    files.read_checked_arrays(path)
    return
  except InputError:  # not there, unfinished or damaged
    CONSOLE.print("pictures: the denoising chain, and some test tasks")
  suite, key = prepared.suite, key_for(config.evaluation.eval_seed, "pictures")
  main = generators[config.generators[0]].trained.generator
  test = next(iter(suite.tests.values())) if suite.shown is None else suite.shown
  found = pictures(main, config.preparation, config.forms[0], suite.train, test, key)
  methods = [generated(n, g.trained.generator, 0.0) for n, g in generators.items()]
  key = jax.random.fold_in(key, 1)
  found |= use.examples(config, data, prepared, methods, key)
  files.write_checked_arrays(path, found)


def _print_chain(config: Config) -> None:
  """The schedule, and ᾱ where each segment starts, with the boundaries."""
  segments = make_segments(config.diffusion.steps, config.diffusion.segments)
  coefficients = chain(make_schedule(config.diffusion), segments)
  alpha = coefficients.alpha
  starts = [float(coefficients.signal[i, t]) ** 2 for i, t in enumerate(coefficients.start)]
  CONSOLE.print(
    f"chain: T = {config.diffusion.steps}, 1−α from {1 - alpha[0]:.3g} to "
    f"{1 - alpha[-1]:.3g}, boundaries {segments.boundaries}, ᾱ at each segment's start "
    f"{', '.join(f'{a:.3g}' for a in starts)}"
  )
