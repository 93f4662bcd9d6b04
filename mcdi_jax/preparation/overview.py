"""What is in a bank: its leaves, its losses, and how much its trajectories bend."""

import math
from typing import NamedTuple

import numpy as np

from mcdi_jax.lib.files import Path
from mcdi_jax.preparation.bank import read_bank
from mcdi_jax.weights import leaves_by_path


class LeafFacts(NamedTuple):
  """Of one leaf over the bank: rms of the last targets, and sd of a coordinate over tasks
  in units of it; 0 is a leaf that does not tell tasks apart."""

  path: str
  shape: tuple[int, ...]
  rms: float
  spread: float


class BankFacts(NamedTuple):
  """See `bank_facts`.

  Attributes:
    tasks, targets: n and k.
    weights: of a task.
    size: bytes of all weights.
    leaves: facts of each.
    losses: [n, k]; None: not recorded.
    bends: [n, k−2] cosines between a trajectory's successive steps from target to target;
      1 is a straight line.
  """

  tasks: int
  targets: int
  weights: int
  size: int
  leaves: list[LeafFacts]
  losses: np.ndarray | None
  bends: np.ndarray


def bank_facts(directory: Path) -> BankFacts:
  """Raises `MissingError` or `DamagedError` where no whole bank is read."""
  bank, losses = read_bank(directory)
  leaves = leaves_by_path(bank.weights)
  tasks, targets = next(iter(leaves.values())).shape[:2]
  facts = []
  for path, leaf in leaves.items():
    last = np.float32(leaf[:, -1])
    rms = float(np.sqrt(np.mean(last**2)))
    spread = float(np.sqrt(np.mean(last.var(0)))) / max(rms, 1e-30)
    facts.append(LeafFacts(path, leaf.shape[2:], rms, spread))
  number = sum(math.prod(fact.shape) for fact in facts)
  size = sum(leaf.nbytes for leaf in leaves.values())
  lines = np.concatenate(
    [np.float32(x).reshape(tasks, targets, -1) for x in leaves.values()], 2
  )
  return BankFacts(tasks, targets, number, size, facts, losses, _bends(lines))


def _bends(lines: np.ndarray) -> np.ndarray:
  steps = np.diff(lines, axis=1)
  length = np.linalg.norm(steps, axis=2)
  along = np.sum(steps[:, 1:] * steps[:, :-1], 2)
  return along / np.maximum(length[:, 1:] * length[:, :-1], 1e-30)
