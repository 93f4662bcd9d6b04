import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import filled, flat

from mcdi_jax.generator import ScoreConfig
from mcdi_jax.generator.score import time_features
from mcdi_jax.generator.specification import SCORE_NETWORKS
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import membership

NETWORKS = list(SCORE_NETWORKS)
WAYS, SHOTS, WIDTH = 4, 3, 6


def make_inputs(ways=WAYS, shots=SHOTS, width=WIDTH):
  """Features by class [N, K, D], tokens, time."""
  rng = np.random.default_rng(0)
  return (
    np.float32(rng.normal(size=(ways, shots, width))),
    np.float32(rng.normal(size=(ways, width + 1))),
    0.35,
  )


@functools.cache
def make_network(name, ridge=0):
  module = SCORE_NETWORKS[name](ScoreConfig(name, 16, 1, 2, 4, ridge))

  def call(f, shots, x, time):
    support = flat(jnp.asarray(shots))
    member = membership(support, len(shots))
    return f((support.x, member), member.any(0), x, time)

  shapes = jax.eval_shape(
    lambda *inputs: call(functools.partial(module.init, jax.random.key(0)), *inputs),
    *make_inputs(),
  )
  params = filled(shapes)
  apply = functools.partial(module.apply, params)
  return jax.jit(functools.partial(call, apply))


@pytest.fixture(params=[*NETWORKS, "ridge"])
def network(request):
  """`apply(shots, x, time)`, with params that hold no zeros."""
  ridge = request.param == "ridge"
  return make_network("equivariant", 2) if ridge else make_network(request.param)


@pytest.fixture(params=[0, 2], ids=["plain", "ridge"])
def equivariant(request):
  return make_network("equivariant", request.param)


def rotation(width, seed=0):
  """A random orthogonal matrix, of determinant −1 for odd seeds."""
  q = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
  q[:, 0] *= np.sign(np.linalg.det(q)) * (-1) ** seed
  return np.float32(q)


def test_output_has_the_shape_of_x_and_depends_on_every_input(network):
  shots, x, time = make_inputs()
  out = network(shots, x, time)
  assert out.shape == x.shape and np.isfinite(out).all()
  for other in [(shots + 1, x, time), (shots, x + 1, time), (shots, x, time + 0.1)]:
    assert abs(network(*other) - out).max() > 1e-3


def test_permuting_the_classes_permutes_the_output(network):
  shots, x, time = make_inputs()
  order = np.array([2, 0, 3, 1])
  found = network(shots[order], x[order], time)
  # float32 rounding: sums over classes change their order
  np.testing.assert_allclose(found, network(shots, x, time)[order], atol=2e-5)


def test_classes_see_one_another(network):
  """Attention is not idle: what class 0 puts out depends on class 1."""
  shots, x, time = make_inputs()
  other = x.copy()
  other[1] += 1
  assert abs(network(shots, other, time)[0] - network(shots, x, time)[0]).max() > 1e-4


def test_the_order_of_shots_does_not_matter(network):
  shots, x, time = make_inputs()
  mixed = np.stack([shots[c][np.roll(np.arange(SHOTS), c)] for c in range(WAYS)])
  # float32 rounding: sums over shots change their order
  np.testing.assert_allclose(network(mixed, x, time), network(shots, x, time), atol=2e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_turning_the_features_turns_the_output(equivariant, seed):
  """Orthogonal maps of both determinants; the bias column stays."""
  shots, x, time = make_inputs()
  q = rotation(WIDTH, seed)
  turned = np.concatenate([x[:, :WIDTH] @ q, x[:, WIDTH:]], 1)
  expected, found = equivariant(shots, x, time), equivariant(shots @ q, turned, time)
  np.testing.assert_allclose(found[:, :WIDTH], expected[:, :WIDTH] @ q, atol=3e-5)
  np.testing.assert_allclose(found[:, WIDTH:], expected[:, WIDTH:], atol=3e-5)
  # not in vain: the output does change
  assert abs(found - expected).max() > 1e-2


@pytest.mark.parametrize(("ways", "shots", "width"), [(2, 3, 6), (7, 1, 9), (4, 2, 3)])
def test_equivariant_takes_any_width_ways_and_shots(equivariant, ways, shots, width):
  """With the same params, and it still turns with the features."""
  inputs = make_inputs(ways, shots, width)
  out = equivariant(*inputs)
  assert out.shape == (ways, width + 1) and np.isfinite(out).all()
  q = rotation(width)
  turned = np.concatenate([inputs[1][:, :width] @ q, inputs[1][:, width:]], 1)
  found = equivariant(inputs[0] @ q, turned, inputs[2])
  np.testing.assert_allclose(found[:, :width], out[:, :width] @ q, atol=3e-5)


def test_repeating_the_coordinates_repeats_the_output(equivariant):
  """Inner products are means over coordinates: the width has no part in the scale."""
  shots, x, time = make_inputs()
  doubled = np.concatenate([x[:, :WIDTH], x], 1)
  found = equivariant(np.concatenate([shots, shots], -1), doubled, time)
  out = equivariant(shots, x, time)
  np.testing.assert_allclose(found, np.concatenate([out[:, :WIDTH], out], 1), atol=3e-5)


def test_gradient_is_finite_where_all_is_zero(network):
  """Features of blank images may be 0, and a chain at τ = 0 begins at x = 0."""
  shots, x, time = make_inputs()
  loss = lambda shots: jnp.sum((network(shots, 0 * x, time) - 1) ** 2)  # noqa: E731
  assert np.isfinite(jax.grad(loss)(0 * shots)).all()


def test_time_features_tell_neighbouring_steps_apart():
  times = np.arange(64) / 64
  found = np.asarray(jax.vmap(time_features)(times))
  distance = np.linalg.norm(found[:, None] - found[None], axis=-1)
  assert distance[~np.eye(64, dtype=bool)].min() > 0.5


def test_a_width_that_the_heads_do_not_divide_is_refused():
  with pytest.raises(InputError, match=r"config\.score\.width is 18.*heads = 4"):
    ScoreConfig(width=18, heads=4)
