"""Which methods are compared on what: the forms' own settings, the rotated classes, the
generators that are timed."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import IMAGE, SHOTS, WAYS, WIDTH, make_generator, make_source

from mcdi_jax.data import DataConfig, from_labels
from mcdi_jax.evaluation import (
  EvaluationConfig,
  Facts,
  Measure,
  Scores,
  difference,
  task_keys,
)
from mcdi_jax.lib.files import as_path
from mcdi_jax.meta import MetaConfig
from mcdi_jax.methods import HEADS
from mcdi_jax.pipeline import Config, controls, evaluation, timings
from mcdi_jax.pipeline.generator import Trained
from mcdi_jax.pipeline.heads import head_rivals
from mcdi_jax.pipeline.tuning import Choice, Tuned
from mcdi_jax.pipeline.use import Prepared, Rivals, Suite
from mcdi_jax.preparation import support_key
from mcdi_jax.tasks import Protocol

CONFIG = Config(
  data=DataConfig(rotations=True),
  meta=MetaConfig(ways=(2, WAYS), shots=(1, SHOTS)),
  evaluation=EvaluationConfig(tasks=20, queries=4, latency=False),
  generators=("generated", "k1"),
  seeds=(5, 6),
)
FAMILY = make_generator().family
FACTS = Facts("conv4-4", "highest", FAMILY, data="toys", seed=5)
PLACE = as_path("unused")


def _features(classes: int) -> Any:
  """Eight items a class."""
  rng = np.random.default_rng(classes)
  labels = np.repeat(np.arange(classes), 8)
  x = rng.normal(size=(classes, WIDTH))[labels] + rng.normal(size=(len(labels), WIDTH))
  return jax.tree.map(jnp.asarray, from_labels(np.float32(x), labels))


UPRIGHT, ROTATED = _features(5), _features(20)
TESTS = {"toys-5": UPRIGHT, "toys-5-rotated": ROTATED}
SUITE = Suite(_features(9), _features(7), TESTS, clusters=5)
RIVALS = Rivals((), None, ())


def test_tasks_of_the_bank_stand_with_the_supports_they_were_prepared_with():
  """Each its own, in a bank of several forms and of some of a bank's tasks."""
  source = make_source(forms=((2, SHOTS), (WAYS, SHOTS)))
  source = source._replace(number=source.number[::-1])
  form = Protocol(WAYS, SHOTS)
  bank = controls.bank_of(source, 1, form, FAMILY)
  found = controls.kept_supports(source, bank, 1, form, FAMILY)
  assert len(found.x) == bank.size
  for n in range(bank.size):
    number = source.number[int(source.first[1]) + n]
    task = jax.tree.map(lambda leaf, n=n: leaf[n], bank.tasks)
    support = prepared_support(source, number, task, form)
    jax.tree.map(lambda a, b, n=n: np.testing.assert_array_equal(a[n], b), found, support)


def prepared_support(source: Any, number: Any, task: Any, form: Protocol) -> Any:
  """As `preparation.bank` draws it."""
  key = support_key(jax.random.fold_in(source.key, number))
  return FAMILY.support(key, source.items, task, form.shots)


@pytest.fixture(scope="module")
def generators() -> dict[str, Tuned]:
  found = {}
  for n, name in enumerate(CONFIG.generators):
    made = make_generator(segments=3 - n)
    settings = {"rate_factor": 1.0, "temperature": 0.25 * (n + 1)}
    found[name] = Tuned(Trained(made, 1.0 + n), Choice(settings, n + 1, [], None))
  return found


def _note(given: list[Any], answer: Any = None) -> Any:
  def stage(*arguments: Any, **settings: Any) -> Any:
    given.append((*arguments, settings) if settings else arguments)
    return answer(*arguments) if answer else []

  return stage


def test_every_form_is_tested_upright_and_rotated_with_its_own_methods(
  monkeypatch: pytest.MonkeyPatch, generators: dict[str, Tuned]
):
  compared: list[Any] = []
  forms = [(n, k) for n in (2, WAYS) for k in (1, SHOTS)]
  source = make_source(forms=tuple(forms))
  rival = SimpleNamespace(name="rival")
  methods = lambda config, family, generators, form, *rest: [(rival, (family, form, rest))]  # noqa: E731
  controls = lambda config, generators, *rest: [rest]  # noqa: E731
  monkeypatch.setattr(evaluation, "methods_of", methods)
  monkeypatch.setattr(evaluation, "controls_of", controls)
  monkeypatch.setattr(evaluation, "compare", _note(compared))
  evaluation.evaluate(CONFIG, FACTS, generators, source, SUITE, RIVALS, PLACE)
  found = []
  for _, facts, of_form, given, form, protocol, test, clusters, pairs, scored in compared:
    assert scored is evaluation.score  # none of these is taken one by one
    assert (facts, given, clusters) == (FACTS, generators, 5)
    assert pairs == {name: ["rival"] for name in generators}
    number = forms.index((form.ways, form.shots))
    (_, (family, own, tuned_by)), (of_source, *control_of) = of_form
    assert (family, own, tuned_by) == (FAMILY, form, (SUITE, RIVALS, PLACE))
    assert of_source is source
    assert control_of == [number, form, SUITE]
    found.append((form.ways, form.shots, protocol, test))
  expected = [(*form, name, test) for form in forms for name, test in TESTS.items()]
  assert [x[:3] for x in found] == [x[:3] for x in expected]
  assert all(a[3] is b[3] for a, b in zip(found, expected, strict=True))


def test_baselines_are_tuned_on_validation_classes_and_see_the_backbones_mean(
  monkeypatch: pytest.MonkeyPatch, generators: dict[str, Tuned]
):
  """The mean in units of standardised features; generators with their own temperature."""
  tuned: list[Any] = []
  some = evaluation.generated("some", make_generator(), 0.0), Choice({}, 1, [], None)
  monkeypatch.setattr(evaluation, "tuned_baseline", _note(tuned, lambda *_: some))
  form = Protocol(WAYS, SHOTS, 4)
  backbone = generators["generated"].trained.generator.frozen
  rivals = head_rivals(CONFIG, Prepared(FAMILY, backbone, "", "conv4-4", SUITE, None, {}))
  call = (CONFIG, FAMILY, generators, form, SUITE, rivals, PLACE)
  found = evaluation.methods_of(*call)
  assert float(backbone["scale"]) != 1
  assert [tunable for _, tunable, *_ in tuned] == list(HEADS)
  for _, tunable, of_form, family, val, known, choices in tuned:
    assert (of_form, family, choices) == (form, FAMILY, PLACE), tunable.name
    assert val is SUITE.val
    mean = known.none * backbone["scale"]
    np.testing.assert_allclose(mean, backbone["mean"], rtol=1e-6)
    assert not known.source.any()
  for n, name in enumerate(CONFIG.generators):
    method, choice = found[n]
    assert (method.name, choice) == (name, generators[name].choice)
    assert method.variables[0] is generators[name].trained.generator
    assert float(method.variables[1]) == 0.25 * (n + 1)
  assert found[-1][0].name == "prepared"


def test_steps_start_from_the_generator_that_is_named(
  monkeypatch: pytest.MonkeyPatch, generators: dict[str, Tuned]
):
  """A base's need none of its own: they take the main one."""
  tuned: list[Any] = []
  some = evaluation.generated("some", make_generator(), 0.0), Choice({}, 1, [], None)
  monkeypatch.setattr(evaluation, "tuned_baseline", _note(tuned, lambda *_: some))
  main, other = CONFIG.generators
  starts = (other, main, "prototypes")
  steps = dataclasses.replace(CONFIG.evaluation, refine_steps=(2,), refine_from=starts)
  config = dataclasses.replace(CONFIG, evaluation=steps)
  rivals, form = Rivals((), None, ()), Protocol(WAYS, SHOTS, 4)
  evaluation.methods_of(config, FAMILY, generators, form, SUITE, rivals, PLACE)
  assert [tunable.name for _, tunable, *_ in tuned] == [f"refined_{s}_2" for s in starts]
  for name, (*_, given, _) in zip((other, main, main), tuned, strict=True):
    assert given is generators[name].trained.generator


def test_turned_classes_are_one_cluster_with_the_upright_ones(
  monkeypatch: pytest.MonkeyPatch, generators: dict[str, Tuned]
):
  """In the intervals of a line, and in those of its difference from prototypes. The test
  tasks are those of the evaluation's seed."""
  rng = np.random.default_rng(0)
  classes = np.stack([rng.permutation(20)[:WAYS] for _ in range(20)])
  names = ("generated", "k1", "prototypes")
  scores = [Scores(rng.integers(0, 5, classes.shape), classes) for _ in names]
  methods = [
    (evaluation.generated(name, make_generator(), 0.0), Choice({}, 3, [], None))
    for name in names
  ]
  asked: list[Any] = []
  scored = _note(asked, lambda *_: scores)
  form, measure = Protocol(WAYS, SHOTS, 4), Measure(4, 5)
  call = (CONFIG, FACTS, methods, generators, form, "toys-5-rotated", ROTATED)
  pairs = {"prototypes": ["k1"], "generated": ["prototypes"], "k1": ["prototypes"]}
  lines = evaluation.compare(*call, clusters=5, pairs=pairs, scored=scored)
  ((_, family, features, _, keys),) = asked
  assert features is ROTATED and family == FAMILY
  drawn = task_keys(CONFIG.evaluation.eval_seed, 20)
  np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(drawn))
  assert [line["method"] for line in lines] == list(names)
  for n, line in enumerate(lines):
    from_generated = difference(scores[n], scores[0], measure)
    if n:
      assert line["paired_ci95_cluster"] == pytest.approx(from_generated.ci95_cluster)
    if n == 2:
      from_k1 = difference(scores[2], scores[1], measure)
      assert line["settings"]["minus_k1"] == pytest.approx(list(from_k1))
    else:
      above = difference(scores[n], scores[2], measure)
      assert line["settings"]["minus_prototypes"] == pytest.approx(list(above))
      assert line["budget_s"] == 1.0 + n
  turned = scores[0]._replace(clusters=classes % 5)
  nothing = turned._replace(values=0 * turned.values)
  by_hand = difference(turned, nothing, Measure(4, 20))
  assert lines[0]["ci95_cluster"] == pytest.approx(by_hand.ci95_cluster)


def test_each_generator_is_timed_as_it_is_used(
  monkeypatch: pytest.MonkeyPatch, generators: dict[str, Tuned]
):
  """Its own network at its own temperature; methods on the supports of the form."""
  timed: list[Any] = []
  monkeypatch.setattr(timings, "time_methods", _note([]))
  monkeypatch.setattr(timings, "time_generation", _note(timed))
  form = Protocol(WAYS, SHOTS, 4)
  call = (CONFIG, FACTS, [], generators, form, UPRIGHT)
  monkeypatch.setattr(timings, "batches", lambda *_: (1, 2))
  timings.latencies(*call)
  for n, (name, made, of_form, settings) in enumerate(timed):
    assert (name, of_form) == (CONFIG.generators[n], form)
    assert made is generators[name].trained.generator
    assert settings["temperature"] == 0.25 * (n + 1)
  assert len(timed) == 2
  assert made.spec.family.image_shape == IMAGE
