"""One tuner for all methods: a trial is one setting, scored on the same validation tasks.

What the first seed chooses is kept in the workdir, and the other seeds use it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.evaluation import score, task_keys
from mcdi_jax.families import TaskFamily
from mcdi_jax.generator import save_generator
from mcdi_jax.generator.storage import about_generator
from mcdi_jax.lib import files
from mcdi_jax.lib.files import Path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.methods import (
  Method,
  Space,
  Tunable,
  at_edge,
  draw_settings,
  generated,
)
from mcdi_jax.pipeline.config import Config
from mcdi_jax.pipeline.generator import Material, Trained, prepare_generator
from mcdi_jax.tasks import Protocol


class Choice(NamedTuple):
  """What was chosen.

  Attributes:
    settings: of the trial that did best.
    trials: how many were scored.
    at_edge: names of settings that lie at an end of their range.
    quality: on the validation tasks, in the metric's unit, such as accuracy in percent;
      None where there was nothing to choose.
  """

  settings: dict[str, Any]
  trials: int
  at_edge: list[str]
  quality: float | None


UNTUNED = Choice({}, 1, [], None)
Methods = list[tuple[Method, Choice]]


class Tuned(NamedTuple):
  """A generator, and what was chosen for it: `rate_factor` and `temperature`."""

  trained: Trained
  choice: Choice


def tuned_baseline(
  config: Config,
  tunable: Tunable,
  form: Protocol,
  family: TaskFamily,
  val: Any,
  given: Any,
  choices: Path,
) -> tuple[Method, Choice]:
  """A baseline with its settings for this form of task.

  Args:
    val: the validation items, embedded.
    given: what the use's methods are made from beside their settings.
    choices: the directory that choices are kept in.
  """
  make = lambda settings: tunable.make(settings, given)  # noqa: E731
  place = choices / f"{form.ways}w{form.shots}s" / f"{tunable.name}.json"
  given_tasks = ([form], family, val)
  title = f"{form}: {tunable.name}"
  choice = once(place, lambda: choose(config, title, tunable.space, make, *given_tasks))
  return make(choice.settings), choice


def once(place: Path, choose: Callable[[], Choice]) -> Choice:
  """The choice that is kept there, or one that is made and kept."""
  return _kept(place) or _keep(place, choose())


def tuned_generator(
  config: Config,
  name: str,
  seed: int,
  material: Material,
  place: Path,
  found: dict[str, Tuned],
  choices: Path,
) -> Tuned:
  """A generator with the rate factor and the temperature that do best over all forms of
  task; each factor is a training, and is the start of all temperatures.

  Args:
    place: the directory of its checkpoints and of `generator/`.
    found: those of this seed that came before it.
    choices: the directory that choices are kept in.
  """
  before = {other: tuned.trained for other, tuned in found.items()}

  def trained(place: Path, factor: float) -> Trained:
    return prepare_generator(config, name, seed, material, place, before, factor)

  kept = _kept(choices / f"{name}.json")
  if kept is not None:
    return Tuned(trained(place, kept.settings["rate_factor"]), kept)
  rates = config.evaluation.generator_rates
  places = {rate: place / f"rate_{rate:g}" if len(rates) > 1 else place for rate in rates}
  trainings = {rate: trained(places[rate], rate) for rate in rates}

  def make(settings: dict[str, Any]) -> Method:
    generator = trainings[settings["rate_factor"]].generator
    return generated(name, generator, settings["temperature"])

  space: Space = {"rate_factor": rates, "temperature": config.evaluation.temperatures}
  tasks = (config.forms, material.family, material.val)
  choice = choose(config, name, space, make, *tasks)
  rate = choice.settings["rate_factor"]
  if not (place / "generator" / "generator.json").exists():
    about = about_generator(places[rate] / "generator")
    save_generator(place / "generator", trainings[rate].generator, about)
  return Tuned(trainings[rate], _keep(choices / f"{name}.json", choice))


def choose(
  config: Config,
  title: str,
  space: Space,
  make: Callable[[dict[str, Any]], Method],
  forms: list[Protocol],
  family: TaskFamily,
  val: Any,
) -> Choice:
  """The settings that do best on validation tasks, the mean over forms."""
  settings = config.evaluation
  tried = draw_settings(space, settings.trials)
  if len(tried) == 1:
    return Choice(tried[0], 1, [], None)
  CONSOLE.print(f"{title}: choosing among {len(tried)} settings")
  methods = [make(one) for one in tried]
  keys = task_keys(settings.eval_seed, settings.tuning_tasks, "tuning")
  qualities = np.zeros(len(tried))
  for form in forms:
    scores = score(methods, family, val, form, keys)
    mean = np.array([s.values.mean() / family.asked(form) for s in scores])
    qualities += family.metric.scale * mean / len(forms)
  return best_of(title, space, tried, qualities)


def best_of(
  title: str, space: Space, tried: list[dict[str, Any]], qualities: np.ndarray
) -> Choice:
  """Of settings with these qualities [n]; one at an edge of its range is told."""
  best = int(np.argmax(np.nan_to_num(qualities, nan=-np.inf)))  # some may diverge
  edges = at_edge(space, tried[best])
  if edges:
    said = ", ".join(f"{name} = {tried[best][name]:g}" for name in edges)
    CONSOLE.print(f"warning: {title}: {said} lies at an edge of what was tried")
  return Choice(tried[best], len(tried), edges, float(qualities[best]))


def _kept(place: Path) -> Choice | None:
  return _read(place) if place.exists() else None


def _keep(place: Path, choice: Choice) -> Choice:
  """As a continued run reads it, in all its order: the lines of both are the same."""
  files.write_json(place, choice._asdict())
  return _read(place)


def _read(place: Path) -> Choice:
  found = files.read_json(place, *Choice._fields)
  files.check_keys(place, found["settings"])
  return Choice(*(found[name] for name in Choice._fields))
