"""The faults of `mutants.py`, by room."""

from typing import NamedTuple


class Mutant(NamedTuple):
  """`old`, which stands in `file` once, becomes `new`; `tests`: pytest's arguments."""

  name: str
  file: str
  old: str
  new: str
  tests: tuple[str, ...]


def _in(room: str, *faults: tuple[str, str, str, str, str]) -> list[Mutant]:
  """(name, file of the room, old, new, tests)."""
  return [
    Mutant(f"{room}: {name}", f"mcdi_jax/{room}/{file}.py", old, new, tuple(tests.split()))
    for name, file, old, new, tests in faults
  ]


LIB = _in(
  "lib",
  (
    "keys of purposes by their length",
    "keys",
    "zlib.crc32(purpose.encode())",
    "len(purpose)",
    "tests/lib/test_keys.py",
  ),
  (
    "no look at the last state",
    "loop",
    "if validate and (last or (",
    "if validate and (False or (",
    "tests/lib/test_loop.py",
  ),
  (
    "the last step's metrics for the mean",
    "loop",
    "float(np.mean([row[name] for row in rows]))",
    "float(rows[-1][name])",
    "tests/lib/test_loop.py",
  ),
  (
    "a hash that depends on the order of names",
    "config",
    "json.dumps(content, sort_keys=True, default",
    "json.dumps(content, default",
    "tests/lib/test_config.py",
  ),
  (
    "arrays in their layout in memory",
    "files",
    'np.asarray(array, order="C")',
    "np.asarray(array)",
    "tests/lib/test_files.py",
  ),
  (
    "boundaries rounded down",
    "spacing",
    "(2 * i * total + parts)",
    "(2 * i * total)",
    "tests/diffusion/test_schedule.py",
  ),
)

DATA = _in(
  "data",
  (
    "names sorted as texts",
    "names",
    "(len(number), number) for number",
    "(0, number) for number",
    "tests/data/test_names.py",
  ),
  (
    "folders sorted without their case",
    "folder",
    "key=lambda folder: natural_key(folder.name)",
    "key=lambda folder: natural_key(folder.name.lower())",
    "tests/data/test_folder.py",
  ),
  (
    "a digest of images without labels",
    "load",
    "digest.update(x.tobytes() + labels.astype(np.int32).tobytes())",
    "digest.update(x.tobytes())",
    "tests/data/test_load.py tests/data/test_raw.py",
  ),
  (
    "validation and test shares exchanged",
    "load",
    "(0.64, 0.16, 0.20)",
    "(0.64, 0.20, 0.16)",
    "tests/data/test_load.py",
  ),
  (
    "turned the other way",
    "class_set",
    "jnp.rot90(images.x, r, axes=(1, 2))",
    "jnp.rot90(images.x, r, axes=(2, 1))",
    "tests/data/test_class_set.py",
  ),
  (
    "places of the first set for all",
    "class_set",
    "jnp.pad(s.index + o,",
    "jnp.pad(s.index,",
    "tests/data/test_class_set.py",
  ),
  (
    "a list's split in the order of the list",
    "class_lists",
    "split[rank[order]]",
    "split[rank]",
    "tests/data/test_class_lists.py",
  ),
  (
    "a split that stays where its classes move",
    "raw",
    "raw.split if raw.split is None else raw.split[classes]",
    "raw.split",
    "tests/data/test_raw.py",
  ),
  (
    "blue for red",
    "images",
    "(299, 587, 114)",
    "(114, 587, 299)",
    "tests/data/test_images.py",
  ),
)

TASKS = _in(
  "tasks",
  (
    "queries among the shots",
    "few_shot",
    "places[:, shots:]",
    "places[:, : protocol.queries]",
    "tests/tasks/test_few_shot.py",
  ),
  (
    "a support's mask dropped",
    "few_shot",
    "member if support.mask is None else member * support.mask[:, None]",
    "member",
    "tests/tasks/test_few_shot.py tests/generator/test_generate.py",
  ),
  (
    "means by the largest class",
    "few_shot",
    "jnp.maximum(member.sum(0), 1.0)",
    "jnp.maximum(0 * member.sum(0) + member.sum(0).max(), 1.0)",
    "tests/tasks/test_few_shot.py",
  ),
  (
    "classes beyond the form's",
    "few_shot",
    "drawn & (jnp.arange(len(classes)) < ways)[:, None]",
    "drawn",
    "tests/tasks/test_few_shot.py",
  ),
)

NETWORKS = _in(
  "networks",
  (
    "sd for variance",
    "conv4",
    "x.var((0, 1, 2))",
    "x.std((0, 1, 2))",
    "tests/networks/test_conv4.py",
  ),
  (
    "the statistics' memory exchanged",
    "pretrain",
    "seen, statistics, 1 - config.statistics_memory",
    "seen, statistics, config.statistics_memory",
    "tests/networks/test_pretrain.py",
  ),
  (
    "Adam at Muon's rate",
    "pretrain",
    "rate(0.1 * config.rate)",
    "rate(config.rate)",
    "tests/networks/test_pretrain.py",
  ),
  (
    "a warm-up of a tenth, however long",
    "pretrain",
    "min(100, config.steps // 10)",
    "config.steps // 10",
    "tests/networks/test_pretrain.py",
  ),
  (
    "features shuffled twice",
    "pretrain",
    "jnp.zeros_like(shuffled).at[order].set(shuffled)",
    "shuffled[order]",
    "tests/networks/test_pretrain.py",
  ),
  (
    "the kernel transposed",
    "convolution",
    "padded[:, i : i + h, j : j + w]",
    "padded[:, j : j + h, i : i + w]",
    "tests/networks/test_conv4.py",
  ),
  (
    "absent classes at logit 0",
    "head",
    "jnp.asarray(-jnp.inf, bias.dtype)",
    "jnp.asarray(0, bias.dtype)",
    "tests/generator/test_generate.py -k masked",
  ),
)

WEIGHTS = _in(
  "weights",
  (
    "the gauge's mean over absent classes",
    "space",
    "tokens.mean(-2, keepdims=True, where=there)",
    "tokens.mean(-2, keepdims=True)",
    "tests/weights/test_space.py",
  ),
  (
    "as many free classes as classes",
    "space",
    "return ways - 1 if self.gauge else ways",
    "return ways",
    "tests/weights/test_space.py",
  ),
  (
    "every leaf in float32",
    "cut",
    "return jnp.moveaxis(rows.reshape(-1, *others), 0, self.cut.axis).astype(self.dtype)",
    "return jnp.moveaxis(rows.reshape(-1, *others), 0, self.cut.axis)",
    "tests/weights/test_space.py",
  ),
  (
    "the base added",
    "space",
    "tokens = tokens - self._flatten(base)",
    "tokens = tokens + self._flatten(base)",
    "tests/weights/test_space.py",
  ),
)

FAMILIES = _in(
  "families",
  (
    "one filling item counts",
    "heads",
    "jnp.arange(most) < items.count[task][:, None]",
    "jnp.arange(most) <= items.count[task][:, None]",
    "tests/preparation/test_prepare_task.py",
  ),
  (
    "one answer a class",
    "heads",
    ".at[query.y].add(right)",
    ".at[query.y].set(right)",
    "tests/evaluation/test_scores.py",
  ),
  (
    "decibels of amplitudes",
    "fields",
    "return -10 * jnp.log10",
    "return -20 * jnp.log10",
    "tests/families/test_fields.py",
  ),
  (
    "an image of another class",
    "fields",
    "items.images.index[task[0], task[1]]",
    "items.images.index[task[1], task[0]]",
    "tests/families/test_fields.py",
  ),
  (
    "the shared start is left out",
    "family",
    "(1 - scale**2) ** 0.5 * shared + scale * own",
    "shared + scale * own",
    "tests/families/test_fields.py",
  ),
)

PREPARATION = _in(
  "preparation",
  (
    "numbers of a short shard",
    "bank",
    "np.arange(sizes[s]) + s * shard_tasks",
    "np.arange(sizes[s]) + s * sizes[s]",
    "tests/preparation/test_bank.py",
  ),
  (
    "the same draws after each recorded step",
    "trajectory",
    "jnp.arange(done, m)",
    "jnp.arange(m - done)",
    "tests/preparation/test_trajectory.py",
  ),
  (
    "epsilon under the root",
    "task",
    "eps=config.epsilon",
    "eps_root=config.epsilon",
    "tests/preparation/test_prepare_task.py",
  ),
  (
    "sharpness never asked for",
    "task",
    "sam_radius=config.sam_radius",
    "sam_radius=0.0",
    "tests/preparation tests/methods/test_baselines.py",
  ),
  (
    "checkpoints in the order of letters",
    "imported",
    "sorted(source.iterdir(), key=lambda p: natural_key(p.name))",
    "sorted(source.iterdir(), key=lambda p: p.name)",
    "tests/preparation/test_imported.py",
  ),
)

DIFFUSION = _in(
  "diffusion",
  (
    "a target's noise one step beyond b_i",
    "chain",
    "jnp.arange(alpha.shape[0]) < stop[:, None]",
    "jnp.arange(alpha.shape[0]) <= stop[:, None]",
    "tests/diffusion/test_schedule.py",
  ),
  (
    "b_i in the segment that ends there",
    "schedule",
    'side="right"',
    'side="left"',
    "tests/diffusion/test_schedule.py",
  ),
  (
    "the hand-over's sign",
    "loss",
    "bend = targets[i - 1] - targets[i]",
    "bend = targets[i] - targets[i - 1]",
    "tests/diffusion/test_loss.py",
  ),
  (
    "published steps beyond their target",
    "loss",
    "jax.random.randint(k_t, (), 0, chain.stop[i])",
    "jax.random.randint(k_t, (), 0, chain.steps)",
    "tests/diffusion/test_loss.py",
  ),
  (
    "ancestral variance upside down",
    "sampler",
    "(after.noise / own.noise) ** 2",
    "(own.noise / after.noise) ** 2",
    "tests/diffusion/test_sampler.py -k ancestral",
  ),
  (
    "the segment's noise for the chain's",
    "sampler",
    "return _Published(chain.alpha, chain.own().global_noise)",
    "return _Published(chain.alpha, chain.own().noise)",
    "tests/diffusion/test_sampler.py -k published",
  ),
)

GENERATOR = _in(
  "generator",
  (
    "means by row instead of class",
    "equivariant",
    "x - take_by_class(member, mean)",
    "x - jnp.repeat(mean, -(-len(x) // len(mean)), 0)[: len(x)]",
    "tests/generator/test_score.py tests/generator/test_generate.py",
  ),
  (
    "attention to absent classes, transformer",
    "transformer",
    "jax.nn.softmax(logits, where=present)",
    "jax.nn.softmax(logits)",
    "tests/generator/test_generate.py -k masked",
  ),
  (
    "attention along the wrong axis",
    "equivariant",
    "jax.nn.softmax(logits, axis=1, where=there)",
    "jax.nn.softmax(logits, axis=0, where=there)",
    "tests/generator/test_generate.py -k masked",
  ),
  (
    "the task's mean over absent classes",
    "score",
    "mean.sum(0) / jnp.maximum(present.sum(), 1)",
    "mean.mean(0)",
    "tests/generator/test_generate.py -k masked",
  ),
  (
    "a mask lost on the way",
    "generate",
    "support = Support(*parts)",
    "support = Support(*parts)._replace(mask=None)",
    "tests/generator/test_generate.py -k masked",
  ),
  (
    "the default precision",
    "model",
    "with jax.default_matmul_precision(self.matmul_precision):",
    'with jax.default_matmul_precision("default"):',
    "tests/generator/test_generate.py -k precision",
  ),
  (
    "exported without its temperature",
    "export",
    "temperature=temperature, ways=ways",
    "ways=ways",
    "tests/generator/test_export.py",
  ),
  (
    "a fingerprint without the gauge",
    "storage",
    "repr((generator.spec, generator.space.gauge))",
    "repr(generator.spec)",
    "tests/generator/test_storage.py -k fingerprint",
  ),
  (
    "guided from the wrong end",
    "compose",
    "return unknown + self.strength",
    "return known + self.strength",
    "tests/generator/test_compose.py",
  ),
  (
    "what is kept is dropped",
    "condition",
    "jnp.where(drop, jnp.zeros_like(leaf), leaf)",
    "jnp.where(drop, leaf, jnp.zeros_like(leaf))",
    "tests/meta/test_training.py",
  ),
)

META = _in(
  "meta",
  (
    "the average's decay exchanged",
    "training",
    "incremental_update(score, state.ema, 1 - decay)",
    "incremental_update(score, state.ema, decay)",
    "tests/meta/test_outer_training.py",
  ),
  (
    "the average's long memory from the start",
    "training",
    "jnp.minimum(ema, (1 + state.step)",
    "jnp.maximum(ema, (1 + state.step)",
    "tests/meta/test_outer_training.py",
  ),
  (
    "a warm-up that never ends",
    "training",
    "int(warmup * steps), steps",
    "int((1 - warmup) * steps), steps",
    "tests/meta/test_outer_training.py",
  ),
  (
    "clipped after Adam",
    "training",
    "optax.chain(clipping(clip), optax.adam(schedule))",
    "optax.chain(optax.adam(schedule), clipping(clip))",
    "tests/meta/test_outer_training.py",
  ),
  (
    "single level at REPTILE's schedule",
    "training",
    "steps = config.loop_steps(algorithm, config.steps)",
    "steps = config.steps",
    "tests/meta/test_outer_training.py",
  ),
  (
    "the sum over inner steps",
    "reptile",
    "t / steps, total), losses",
    "t, total), losses",
    "tests/meta/test_reptile.py",
  ),
  (
    "kept supports by row of all banks",
    "batch",
    "task_key(source.key, source.number[row])",
    "task_key(source.key, row)",
    "tests/meta/test_training.py -k forms_beside",
  ),
  (
    "tasks of the first form for all",
    "batch",
    "0, source.count[form]) + source.first[form]",
    "0, source.count[form])",
    "tests/meta/test_training.py -k forms_beside",
  ),
  (
    "the first targets of the bank",
    "batch",
    "np.array(evenly_spaced(number, diffusion.segments)) - 1",
    "np.arange(diffusion.segments)",
    "tests/meta/test_chain_targets.py",
  ),
  (
    "validation of the params, not their average",
    "validation",
    "dataclasses.replace(generator, score=state.ema)",
    "dataclasses.replace(generator, score=state.score)",
    "tests/meta/test_outer_training.py",
  ),
  (
    "the latest of equals is best",
    "validation",
    "better = mean > state.best_quality",
    "better = mean >= state.best_quality",
    "tests/meta/test_outer_training.py",
  ),
  (
    "the last for the best",
    "training",
    'state.best if config.select == "best" else state.ema',
    'state.ema if config.select == "best" else state.best',
    "tests/meta/test_outer_training.py",
  ),
  (
    "noise on supports alone",
    "finishing",
    "query._replace(x=family.perturb(k_query, query.x, noise))",
    "query",
    "tests/meta/test_finishing.py -k noise",
  ),
)

METHODS = _in(
  "methods",
  (
    "the support's mean added",
    "view",
    'jnp.where(variables["by_support"], -own,',
    'jnp.where(variables["by_support"], own,',
    "tests/methods/test_baselines.py",
  ),
  (
    "masked items pulled to −1",
    "ridge",
    "targets = 2 * seen.member - counts",
    "targets = 2 * seen.member - 1",
    "tests/methods/test_baselines.py",
  ),
  (
    "twice the penalty",
    "logistic",
    "+ 0.5 * penalty * square",
    "+ penalty * square",
    "tests/methods/test_baselines.py",
  ),
  (
    "uniform instead of log-uniform",
    "space",
    "math.exp(rng.uniform(*np.log(values)))",
    "rng.uniform(*values)",
    "tests/methods/test_baselines.py",
  ),
  (
    "weight decay for epsilon",
    "finetune",
    "eps=epsilon, weight_decay",
    "eps_root=epsilon, weight_decay",
    "tests/methods/test_baselines.py",
  ),
  (
    "the mean of first targets",
    "controls",
    "jnp.asarray(leaf)[:, -1].mean(0)",
    "jnp.asarray(leaf)[:, 0].mean(0)",
    "tests/methods/test_any_network.py",
  ),
  (
    "the farthest of the bank",
    "controls",
    "nearest = jnp.argmin(",
    "nearest = jnp.argmax(",
    "tests/methods/test_any_network.py",
  ),
  (
    "descent from another start",
    "descent",
    "params = family.init(frozen, key, support.x, ways)",
    "params = family.fresh(key)",
    "tests/methods/test_any_network.py",
  ),
)

EVALUATION = _in(
  "evaluation",
  (
    "C degrees of freedom for C − 1",
    "intervals",
    "stdtrit(len(n) - 1, 0.975)",
    "stdtrit(len(n), 0.975)",
    "tests/evaluation/test_intervals.py",
  ),
  (
    "turned classes as clusters of their own",
    "intervals",
    "(scores.clusters % measure.clusters).reshape(-1)",
    "scores.clusters.reshape(-1)",
    "tests/evaluation/test_intervals.py tests/evaluation/test_results.py",
  ),
  (
    "the sign of a paired difference",
    "intervals",
    "this.values - rival.values",
    "rival.values - this.values",
    "tests/evaluation",
  ),
  (
    "filling tasks counted",
    "scores",
    "np.concatenate(parts)[: len(keys)]",
    "np.concatenate(parts)",
    "tests/evaluation/test_scores.py",
  ),
  (
    "the mean for the median",
    "latency",
    "1000 * float(np.median(taken))",
    "1000 * float(np.mean(taken))",
    "tests/evaluation/test_results.py",
  ),
  (
    "the gap before the wrong target",
    "pictures",
    "handed_over - task.targets[1:]",
    "handed_over - task.targets[:-1]",
    "tests/evaluation/test_pictures.py -k segment",
  ),
)

REPORT = _in(
  "report",
  (
    "of a seed's lines the first stands",
    "figures",
    'seeds[line.get("seed")] = line',
    'seeds.setdefault(line.get("seed"), line)',
    "tests/report/test_report_page.py -k written_again",
  ),
  (
    "claims by the interval over tasks",
    "figures",
    "self.ci95_cluster if known else self.ci95",
    "self.ci95",
    "tests/report/test_report_page.py",
  ),
  (
    "a difference that is not reversed",
    "figures",
    "return self._replace(value=-self.value)",
    "return self._replace(value=self.value)",
    "tests/report/test_report_page.py",
  ),
  (
    "runs compared the other way round",
    "comparison",
    "Difference(values[0] - values[1]",
    "Difference(values[1] - values[0]",
    "tests/report/test_report_comparison.py",
  ),
  (
    "all seeds in one curve",
    "workdir",
    '(line.get("phase"), line.get("seed")) == (phase, seed)',
    'line.get("phase") == phase',
    "tests/report/test_report_parts.py",
  ),
  (
    "a table of all protocols",
    "markdown",
    "for tasks, rows in groups.items() if tasks.protocol == protocol}",
    "for tasks, rows in groups.items()}",
    "tests/report/test_markdown_tables.py -k protocol",
  ),
)

CALLS, TRAINING = "tests/pipeline/test_calls.py", "tests/pipeline/test_training_calls.py"
TESTED, CACHES = "tests/pipeline/test_evaluation.py", "tests/pipeline/test_caches.py"
TUNING = "tests/pipeline/test_tuning.py"

PIPELINE = _in(
  "pipeline",
  (
    "the backbone trained on validation classes",
    "backbone",
    "images = _turned(splits.train, config)\n  state = train(",
    "images = _turned(splits.val, config)\n  state = train(",
    CALLS,
  ),
  (
    "warps of validation images",
    "backbone",
    "images = _turned(splits.train, config)\n  key",
    "images = _turned(splits.val, config)\n  key",
    CALLS,
  ),
  (
    "every copy the same warp",
    "backbone",
    "jax.random.split(jax.random.fold_in(key, copy), len(images.x))",
    "jax.random.split(key, len(images.x))",
    CALLS,
  ),
  (
    "as many upright classes as training classes",
    "backbone",
    'take_classes(found["test"], 0, splits.test.classes)',
    'take_classes(found["test"], 0, splits.train.classes)',
    CALLS,
  ),
  (
    "the first seed's key for every backbone",
    "backbone",
    'key_for(seed, "backbone")',
    'key_for(config.seeds[0], "backbone")',
    "tests/pipeline/test_backbone.py",
  ),
  (
    "a backbone's hash without its seed",
    "backbone",
    '    "seed": seed,\n  }\n',
    "  }\n",
    CACHES,
  ),
  (
    "a bank's hash without k",
    "bank",
    '      "targets": targets,\n      "preparation"',
    '      "preparation"',
    CACHES,
  ),
  (
    "a bank's hash without the precision",
    "bank",
    '      "matmul_precision": config.matmul_precision,\n',
    "",
    CACHES,
  ),
  (
    "kept supports of another key",
    "bank",
    "key, shards = bank_key(config.preparation.seed), list",
    "key, shards = bank_key(0), list",
    CALLS,
  ),
  (
    "banks of validation classes",
    "bank",
    "forms, parts, prepared.suite.train, key",
    "forms, parts, prepared.suite.val, key",
    CALLS,
  ),
  (
    "pictures of validation classes",
    "run",
    "test = next(iter(suite.tests.values()))",
    "test = suite.val",
    CALLS,
  ),
  (
    "a border in levels of 255",
    "heads",
    "border_brightness(np.asarray(splits.train.x)) / 255",
    "border_brightness(np.asarray(splits.train.x))",
    CALLS,
  ),
  (
    "a generator chosen on test classes",
    "run",
    "bank, prepared.suite.val)",
    "bank, next(iter(prepared.suite.tests.values())))",
    CALLS,
  ),
  (
    "one validation key for all seeds",
    "generator",
    'key_for(seed, "validation")',
    'key_for(config.seeds[0], "validation")',
    TRAINING,
  ),
  (
    "a validation key of each generator",
    "generator",
    'key_for(seed, "validation")',
    'key_for(seed, f"validation of {name}")',
    TRAINING,
  ),
  (
    "the first seed's key for every training",
    "generator",
    'key_for(seed, f"training of {name}")',
    'key_for(config.seeds[0], f"training of {name}")',
    TRAINING,
  ),
  (
    "the draws of one generator for all",
    "generator",
    'key_for(seed, f"training of {name}")',
    'key_for(seed, "training")',
    TRAINING,
  ),
  (
    "finishing from another generator",
    "generator",
    "before = found[recipe.starts_from] if",
    "before = next(iter(found.values())) if",
    TRAINING,
  ),
  (
    "finishing's budget without its start's",
    "generator",
    "seconds = before.seconds if before else 0.0",
    "seconds = 0.0",
    TRAINING,
  ),
  (
    "the scale of redrawn supports",
    "generator",
    'keep = config.meta.support == "kept"',
    "keep = False",
    TRAINING,
  ),
  (
    "a rate factor that finishing never sees",
    "generator",
    "rate=factor * finishing_config.rate",
    "rate=finishing_config.rate",
    TRAINING,
  ),
  (
    "a hypernetwork of fewer steps",
    "generator",
    "steps, rate = last.hypernetwork_steps or meta.steps + steps, meta.rate",
    "rate = meta.rate",
    TRAINING,
  ),
  (
    "generators tuned on test classes",
    "heads",
    "Suite(features.train, features.val, tests,",
    "Suite(features.train, features.test, tests,",
    "tests/pipeline/test_wiring.py -k chosen_by_the_test",
  ),
  (
    "tuned settings of other shots",
    "tuning",
    'f"{form.ways}w{form.shots}s"',
    'f"{form.ways}w"',
    TUNING,
  ),
  (
    "tuned on the test tasks' keys",
    "tuning",
    'settings.tuning_tasks, "tuning")',
    "settings.tuning_tasks)",
    TUNING,
  ),
  (
    "the accuracy of the last form",
    "tuning",
    "qualities += family.metric.scale * mean / len(forms)",
    "qualities = family.metric.scale * mean",
    TUNING,
  ),
  (
    "baselines tuned on test classes",
    "evaluation",
    "form, family, suite.val, rivals.given,",
    'form, family, suite.tests["toys-5"], rivals.given,',
    TESTED,
  ),
  (
    "rotated lines that are the upright ones",
    "heads",
    '-rotated"] = features.test',
    '-rotated"] = upright',
    CALLS,
  ),
  (
    "upright lines with all turns",
    "heads",
    "upright = features.upright_test",
    "upright = features.test",
    CALLS,
  ),
  (
    "as many clusters as turned classes",
    "heads",
    "tests, upright.classes)",
    "tests, features.test.classes)",
    CALLS,
  ),
  (
    "the feature mean in the backbone's unit",
    "heads",
    'mean = prepared_seed.frozen["mean"] / prepared_seed.frozen["scale"]',
    'mean = prepared_seed.frozen["mean"]',
    TESTED,
  ),
  (
    "generators tested cold",
    "evaluation",
    'generated(name, trained.generator, choice.settings["temperature"])',
    "generated(name, trained.generator, 0.0)",
    TESTED,
  ),
  (
    "the latency of the first generator for all",
    "evaluation",
    "call = (name, trained.generator, form)",
    'call = (name, generators["generated"].trained.generator, form)',
    TESTED,
  ),
  (
    "results doubled at a resume",
    "workdir",
    'files.write_bytes(workdir / "results.jsonl", text.encode())',
    'files.append_json_lines(workdir / "results.jsonl", lines)',
    "tests/pipeline/test_wiring.py -k doubles",
  ),
  (
    "some of a seed's lines for all",
    "workdir",
    'if found["sha256"] == content_hash(found["lines"]):',
    'if found["lines"]:',
    "tests/pipeline/test_workdir.py",
  ),
  (
    "class names in another order than columns",
    "prediction",
    'tuple(manifest["classes"]),\n    np.conc',
    'tuple(sorted(manifest["classes"])),\n    np.conc',
    "tests/pipeline/test_prediction.py -k order",
  ),
  (
    "the softmax of mean logits",
    "prediction",
    "jax.nn.softmax(logits(samples, jnp.asarray(part))).mean(0)",
    "jax.nn.softmax(logits(samples, jnp.asarray(part)).mean(0))",
    "tests/pipeline/test_prediction.py -k distribution",
  ),
  (
    "a polarity that is never told",
    "own_images",
    "_other_polarity(border_brightness(image[None]) / 255,",
    "_other_polarity(border_brightness(image[None]),",
    "tests/pipeline/test_own_images.py",
  ),
  (
    "a test split that is not looked at",
    "heads",
    'check_protocol(splits.test, form, "test")',
    'check_protocol(splits.val, form, "test")',
    "tests/pipeline/test_settings.py",
  ),
  (
    "windows in one step",
    "windows",
    "int(step) // self._period % self.number",
    "int(step) % self.number",
    "tests/pipeline/test_windows.py",
  ),
)

COMMANDS = _in(
  "commands",
  (
    "the least probable class",
    "predict",
    "p.argsort()[::-1][:2]",
    "p.argsort()[:2]",
    "tests/launch/test_image_commands.py",
  ),
  (
    "a seed that is not passed on",
    "generate",
    "    seed=_SEED.value,\n",
    "",
    "tests/launch/test_image_commands.py",
  ),
  (
    "an export at temperature 0",
    "export",
    "    temperature=_TEMPERATURE.value,\n",
    "",
    "tests/launch/test_image_commands.py",
  ),
  (
    "a benchmark at the generator's own precision",
    "benchmark",
    "precision = _PRECISION.value or generator.spec.matmul_precision",
    "precision = generator.spec.matmul_precision",
    "tests/launch/test_image_commands.py",
  ),
)

MUTANTS = [
  *LIB,
  *DATA,
  *TASKS,
  *NETWORKS,
  *WEIGHTS,
  *FAMILIES,
  *PREPARATION,
  *DIFFUSION,
  *GENERATOR,
  *META,
  *METHODS,
  *EVALUATION,
  *REPORT,
  *PIPELINE,
  *COMMANDS,
]
