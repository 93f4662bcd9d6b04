"""Phase one: optimisation trajectories of the training tasks, and the bank of them."""

from mcdi_jax.preparation.bank import Bank, open_bank
from mcdi_jax.preparation.task import PreparationConfig, kept_support, prepare_task
from mcdi_jax.preparation.trajectory import Trajectory, trajectory

__all__ = [
  "Bank",
  "PreparationConfig",
  "Trajectory",
  "kept_support",
  "open_bank",
  "prepare_task",
  "trajectory",
]
