"""3×3 convolution in the form that is fastest on the platform."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Form = Callable[[Array, Array], Array]
_SMALL = 64  # places of an image whose patches are few


@jax.custom_vjp
def patches_convolution(
  x: Float[Array, "n h w a"], kernel: Float[Array, "3 3 a b"]
) -> Float[Array, "n h w b"]:
  """Nine slices, one matmul. Both gradients have that form too: on CPU together 1.5 times
  as fast as what autodiff makes of the slices, nine padded sums."""
  return patches_of(x) @ kernel.reshape(-1, kernel.shape[-1])


def patches_of(x: Float[Array, "n h w a"]) -> Float[Array, "n h w 9*a"]:
  """What a 3×3 kernel meets at each place, in the order of the kernel's axes."""
  h, w = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  slices = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
  return jnp.concatenate(slices, -1)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return patches_convolution(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
  x, kernel = kept
  mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
  of_kernel = jnp.einsum("nhwp,nhwb->pb", patches_of(x), g)
  return patches_convolution(g, mirrored), of_kernel.reshape(kernel.shape)


patches_convolution.defvjp(_forward, _backward)


def lax_convolution(
  x: Float[Array, "n h w a"], kernel: Float[Array, "3 3 a b"]
) -> Float[Array, "n h w b"]:
  """The accelerator's own convolution."""
  numbers = ("NHWC", "HWIO", "NHWC")
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


@jax.custom_vjp
def mixed_convolution(
  x: Float[Array, "n h w a"], kernel: Float[Array, "3 3 a b"]
) -> Float[Array, "n h w b"]:
  """The library's convolution, for the gradient of the images too. That of the kernel, at
  which the library is slow on CPU, is a matmul: of large images one each, whose patches
  stay in cache."""
  return lax_convolution(x, kernel)


def _mixed_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return lax_convolution(x, kernel), (x, kernel)


def _mixed_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
  x, kernel = kept

  def of_images(x: Array, g: Array) -> Array:
    return jnp.einsum("nhwp,nhwb->pb", patches_of(x), g)

  def add(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
    return total + of_images(*(part[None] for part in image)), None

  if x.shape[1] * x.shape[2] > _SMALL:
    zeros = jnp.zeros((9 * x.shape[-1], g.shape[-1]), g.dtype)
    of_kernel, _ = jax.lax.scan(add, zeros, (x, g))
  else:
    of_kernel = of_images(x, g)
  mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
  return lax_convolution(g, mirrored), of_kernel.reshape(kernel.shape)


mixed_convolution.defvjp(_mixed_forward, _mixed_backward)


def convolution(
  x: Float[Array, "n h w a"],
  kernel: Float[Array, "3 3 a b"],
  *,
  on_cpu: Form = patches_convolution,
) -> Float[Array, "n h w b"]:
  """Stride 1, zero padding; the form is chosen when the program is lowered for a platform,
  so that what is exported for another one has that one's."""
  dtype = jnp.result_type(x, kernel)  # half-precision images too
  return jax.lax.platform_dependent(
    x.astype(dtype), kernel.astype(dtype), cpu=on_cpu, default=lax_convolution
  )
