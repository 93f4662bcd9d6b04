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
    temperature: τ of the generated weights.
    finetune_trials: settings of fine-tuning, with AdamW and with plain descent each,
      that are tried on validation tasks.
    tuning_tasks: validation tasks that each is tried on.
    latency: whether to measure it (half a minute).
    latency_calls: timed calls; their median is reported.
  """

  tasks: int = 10000
  queries: int = 15
  eval_seed: int = 1234
  temperature: float = 0.0
  finetune_trials: int = 24
  tuning_tasks: int = 1000
  latency: bool = True
  latency_calls: int = 100

  def __post_init__(self):
    least = {"tasks": 2, "queries": 1, "finetune_trials": 1, "latency_calls": 100}
    least |= {"tuning_tasks": 1}
    for name, number in least.items():
      value = getattr(self, name)
      check(value >= number, f"config.evaluation.{name}", value, f"give at least {number}")
    within = 0 <= self.temperature <= 1
    check(within, "config.evaluation.temperature", self.temperature, "give 0 to 1")
