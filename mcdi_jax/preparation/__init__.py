"""Phase one: optimisation trajectories of the training tasks, and the bank of them."""

from mcdi_jax.preparation.bank import Bank, Shards, open_bank, read_bank
from mcdi_jax.preparation.imported import import_bank
from mcdi_jax.preparation.overview import BankFacts, bank_facts
from mcdi_jax.preparation.task import PreparationConfig, prepare_task, support_key
from mcdi_jax.preparation.trajectory import Trajectory, trajectory

__all__ = [
  "Bank",
  "BankFacts",
  "PreparationConfig",
  "Shards",
  "Trajectory",
  "bank_facts",
  "import_bank",
  "open_bank",
  "prepare_task",
  "read_bank",
  "support_key",
  "trajectory",
]
