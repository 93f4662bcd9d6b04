"""Downstream networks as pairs of pure functions, and their pretraining."""

from mcdi_jax.networks.backbones import Architecture, architecture, backbone
from mcdi_jax.networks.conv4 import conv4
from mcdi_jax.networks.head import (
  head,
  leave_one_out,
  mean_square,
  prototype_head,
  ridge_head,
  ridge_head_averaged,
  ridge_head_loo,
  ridge_path,
  unit_prototype_head,
  without_absent,
)
from mcdi_jax.networks.network import Network, Params
from mcdi_jax.networks.normalised import Normalised, with_statistics
from mcdi_jax.networks.resnet12 import resnet12
from mcdi_jax.networks.standard import fit_standardisation

__all__ = [
  "Architecture",
  "Network",
  "Normalised",
  "Params",
  "architecture",
  "backbone",
  "conv4",
  "fit_standardisation",
  "head",
  "leave_one_out",
  "mean_square",
  "prototype_head",
  "resnet12",
  "ridge_head",
  "ridge_head_averaged",
  "ridge_head_loo",
  "ridge_path",
  "unit_prototype_head",
  "with_statistics",
  "without_absent",
]
