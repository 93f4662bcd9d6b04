"""Settings of evaluation."""

import dataclasses

from mcdi_jax.lib.config import check


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Evaluation on the test classes.

  Attributes:
    tasks: test tasks of each form.
    queries: a class.
    eval_seed: of the test tasks: the same for all methods and training seeds.
    trials: settings that are tried for each method, all of them where it has no more; the
      first seed tries, the others use what it chose.
    tuning_tasks: validation tasks that each is tried on, the same for all methods.
    generator_rates: factors of meta.rate and finishing.rate to try for a generator; each
      is a training.
    descent_steps: numbers of steps of the descent that generators are compared with; each
      has a rate of its own.
    whole_steps: numbers of steps of the descent of all weights of the encoder that adapters
      are inside of, in `adapters`; each has a rate of its own.
    refine_steps: numbers of plain gradient steps on the support, from each start; each has
      a rate of its own.
    refine_from: their starts: generators of the run, such as `generated`, and bases of the
      family: `init`, θ_0; `prototypes` and `ridge`, where it has them.
    without: patterns of leaves, such as `blocks/*`: for each a row of generated weights in
      which these are the base's, which `config.base` must name.
    samples: a task, from which the spread of generators that are trained on weights is
      known, for rows of their samples at τ = 1 and at equal spread; 0: no such rows.
    ensemble: samples of the first generator at τ = 1, for a row in which their outputs are
      averaged; 0: no such row.
    passes: most passes of generators that are trained for several, such as
      `generated_iterated`, each with a row from 2 on; 0: as many as they were trained for.
    temperatures: τ of the generated weights, to choose among.
    latency: whether to measure it, of every method, with the first seed.
    latency_s: seconds of timed calls, of all methods and forms together; compilation and
      at least three calls of each come on top.
  """

  tasks: int = 10000
  queries: int = 15
  eval_seed: int = 1234
  trials: int = 24
  tuning_tasks: int = 4000
  generator_rates: tuple[float, ...] = (1.0,)
  temperatures: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
  descent_steps: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300)
  whole_steps: tuple[int, ...] = ()
  refine_steps: tuple[int, ...] = ()
  refine_from: tuple[str, ...] = ("generated", "init")
  without: tuple[str, ...] = ()
  samples: int = 0
  ensemble: int = 0
  passes: int = 0
  latency: bool = True
  latency_s: float = 4.0

  def __post_init__(self):
    where = "config.evaluation"
    least = {"tasks": 2, "queries": 1, "trials": 1, "tuning_tasks": 1}
    for name, number in least.items():
      value = getattr(self, name)
      check(value >= number, f"{where}.{name}", value, f"give at least {number}")
    distinct = len(self.without) == len(set(self.without))
    check(distinct, f"{where}.without", self.without, "give different patterns")
    check(self.passes >= 0, f"{where}.passes", self.passes, "give at least 0")
    for name in ("samples", "ensemble"):
      value = getattr(self, name)
      few, remedy = value == 0 or value >= 2, "give at least 2, or 0 for no such row"
      check(few, f"{where}.{name}", value, remedy)
    rates, temperatures = self.generator_rates, self.temperatures
    positive = len(rates) == len(set(rates)) > 0 and min(rates) > 0
    check(positive, f"{where}.generator_rates", rates, "give different positive factors")
    within = len(temperatures) == len(set(temperatures)) > 0
    within = within and 0 <= min(temperatures) <= max(temperatures) <= 1
    remedy = "give different numbers from 0 to 1"
    check(within, f"{where}.temperatures", temperatures, remedy)
    for name in ("descent_steps", "whole_steps", "refine_steps"):
      steps = getattr(self, name)
      distinct = len(steps) == len(set(steps)) and min(steps, default=1) >= 1
      check(distinct, f"{where}.{name}", steps, "give different numbers of at least 1")
    distinct = len(self.refine_from) == len(set(self.refine_from))
    check(distinct, f"{where}.refine_from", self.refine_from, "give different ones")
    check(self.latency_s > 0, f"{where}.latency_s", self.latency_s, "give a positive time")
