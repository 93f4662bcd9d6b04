"""Operators of the support's features against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.generator.resolvents import resolvents
from mcdi_jax.networks import ridge_head
from mcdi_jax.tasks import Support, class_means, membership

WAYS = 3


def _support(items: int, width: int, extra: int = 0) -> tuple[jax.Array, jax.Array]:
  """Features, and who belongs where; `extra` items that do not count hold anything."""
  rng = np.random.default_rng(items)
  x = jnp.float32(rng.normal(size=(items, width)) + 2)
  x = jnp.concatenate([x, jnp.full((extra, width), 1e6)])
  y = jnp.arange(items + extra) % WAYS
  mask = jnp.arange(items + extra) < items
  return x, membership(Support(x, y, mask), WAYS)


@pytest.mark.parametrize(("items", "width"), [(6, 9), (12, 5)])
def test_they_are_damped_inverses_of_the_centred_features(items: int, width: int):
  """λ (XᵀX + λI)⁻¹ by numpy, whichever of the two systems is the smaller."""
  x, member = _support(items, width)
  v = jnp.float32(np.random.default_rng(1).normal(size=(4, 2, width)))
  found = resolvents(x, member, 3)(v)
  centred = np.float64(x - x.mean(0))
  for n, relative in enumerate(np.geomspace(0.03, 3.0, 3)):
    penalty = relative * np.sum(centred**2) / items
    operator = penalty * np.linalg.inv(centred.T @ centred + penalty * np.eye(width))
    np.testing.assert_allclose(found[n], np.float64(v) @ operator, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("width", [4, 9])
def test_items_that_do_not_count_change_nothing_and_leave_gradients_whole(width: int):
  x, member = _support(6, width)
  padded, among = _support(6, width, extra=3)
  v = class_means(member, x)
  np.testing.assert_allclose(
    resolvents(padded, among, 2)(v), resolvents(x, member, 2)(v), rtol=1e-3, atol=1e-4
  )
  slope = jax.grad(lambda x: jnp.sum(resolvents(x, among, 2)(v) ** 2))(padded)
  assert np.isfinite(slope).all() and not slope[6:].any() and slope[:6].any()


@pytest.mark.parametrize(("items", "width"), [(6, 9), (9, 4)])
def test_derivatives_are_those_of_the_definition(items: int, width: int):
  """In features, vectors and gates; where items are doubled, too, which makes eigenvalues
  equal."""
  x, _ = _support(items, width)
  x = jnp.concatenate([x[: items // 3], x[: items // 3], x[items // 3 :]])[:items]
  member = membership(Support(x, jnp.arange(items) % WAYS, None), WAYS)
  v, gates = (
    jax.random.normal(k, s)
    for k, s in zip(jax.random.split(jax.random.key(0)), ((4, width), (4, 2)), strict=True)
  )

  def mixed(x: jax.Array, v: jax.Array, gates: jax.Array) -> jax.Array:
    return resolvents(x, member, 2).mixed(v, gates)

  def defined(x: jax.Array, v: jax.Array, gates: jax.Array) -> jax.Array:
    x = x - x.mean(0)
    penalties = jnp.array([0.03, 3.0]) * jnp.sum(x**2) / items
    shrink = lambda p: p * jnp.linalg.inv(x.T @ x + p * jnp.eye(width))  # noqa: E731
    return jnp.einsum("rde,br,be->bd", jax.vmap(shrink)(penalties), gates, v)

  directions = tuple(jax.random.normal(jax.random.key(1), a.shape) for a in (x, v, gates))
  for moved in ((1, 1, 1), (1, 0, 0), (0, 1, 1)):
    tangents = tuple(m * d for m, d in zip(moved, directions, strict=True))
    found, wanted = (jax.jvp(f, (x, v, gates), tangents)[1] for f in (mixed, defined))
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)
  slopes = [
    jax.grad(lambda *a, f=f: jnp.sum(f(*a) ** 2), (0, 1, 2)) for f in (mixed, defined)
  ]
  for found, wanted in zip(*(slope(x, v, gates) for slope in slopes), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=5e-3)


def test_ridge_is_what_they_make_of_class_means():
  """W = (XᵀX + λI)⁻¹ Xᵀ Y; of equal classes XᵀY is their means' distance from the centre,
  up to a factor."""
  x, member = _support(6, 9)
  relative = 0.03
  penalty = relative * jnp.sum((x - x.mean(0)) ** 2) / 6
  kernel = ridge_head(x, member, penalty)["head"]["kernel"].T
  means = class_means(member, x) - x.mean(0)
  found = resolvents(x, member, 2)(means)[0] * 2 * 2 / penalty  # ±1: 2; two items a class
  np.testing.assert_allclose(found, kernel, rtol=1e-3, atol=1e-4)


def test_an_item_alone_in_its_class_has_no_error():
  """Whatever is predicted of it without any of its class says nothing of λ."""
  x, member = _support(6, 9)
  lone = jnp.concatenate([member[:5], jnp.zeros((1, WAYS))])  # the last class has one left
  errors = resolvents(x, lone, 2).errors
  assert errors.shape == (2, 6) and (errors[:, [0, 1, 3, 4]] > 0).all()
  assert not errors[:, [2, 5]].any()
