"""Downstream networks as pairs of pure functions, and their pretraining."""

from mcdi_jax.networks.conv4 import backbone, conv4
from mcdi_jax.networks.head import (
  head,
  leave_one_out,
  prototype_head,
  ridge_head,
  ridge_head_loo,
  ridge_path,
  unit_prototype_head,
  without_absent,
)
from mcdi_jax.networks.network import Network, Params
from mcdi_jax.networks.standard import fit_standardisation

__all__ = [
  "Network",
  "Params",
  "backbone",
  "conv4",
  "fit_standardisation",
  "head",
  "leave_one_out",
  "prototype_head",
  "ridge_head",
  "ridge_head_loo",
  "ridge_path",
  "unit_prototype_head",
  "without_absent",
]
