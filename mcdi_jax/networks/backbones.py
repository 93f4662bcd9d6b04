"""The backbones that are trained here, by name."""

from typing import Literal, NamedTuple

from mcdi_jax.networks.conv4 import conv4
from mcdi_jax.networks.network import Network
from mcdi_jax.networks.normalised import Normalised, with_statistics
from mcdi_jax.networks.resnet12 import resnet12
from mcdi_jax.networks.standard import standardised

Kind = Literal["conv4", "resnet12"]
SMALLEST_IMAGE = 16  # pixels a side: each halves them four times


class Architecture(NamedTuple):
  """A network without weights.

  Attributes:
    network: which.
    widths: channels of conv4's blocks, one number, or of each of resnet12's.
  """

  network: Kind
  widths: tuple[int, ...]

  @property
  def name(self) -> str:
    """For results, such as `conv4-64`."""
    return "-".join(map(str, (self.network, *self.widths)))

  def of_images(self, image_shape: tuple[int, ...]) -> Normalised:
    if self.network == "conv4":
      return conv4(image_shape[-1], *self.widths)
    return resnet12(image_shape[-1], self.widths)


def architecture(network: Kind, width: int, widths: tuple[int, ...]) -> Architecture:
  """Of the settings of both, of which each uses its own."""
  return Architecture(network, (width,) if network == "conv4" else widths)


def backbone(
  chosen: Architecture, image_shape: tuple[int, ...], *, unit_length: bool = False
) -> Network:
  """With standardised features: what generated heads stand on."""
  bare = with_statistics(chosen.of_images(image_shape))
  return standardised(bare, image_shape, unit_length=unit_length)
