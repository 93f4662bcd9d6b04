"""Phase one: optimisation trajectories of the training tasks, and the bank of them."""

from mcdi_jax.preparation.bank import Bank, open_bank
from mcdi_jax.preparation.task import PreparationConfig, prepare_task, support_key
from mcdi_jax.preparation.trajectory import Trajectory, trajectory

__all__ = [
  "Bank",
  "PreparationConfig",
  "Trajectory",
  "open_bank",
  "prepare_task",
  "support_key",
  "trajectory",
]
