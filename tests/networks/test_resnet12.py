"""ResNet-12 against its textbook form, and the leaves of its normalisation."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.networks import resnet12, with_statistics
from mcdi_jax.networks.convolution import lax_convolution, mixed_convolution
from mcdi_jax.networks.normalised import apply_in_groups, fresh_statistics
from mcdi_jax.weights import leaves_by_path

SHAPE, WIDTHS = (21, 16, 2), (3, 4, 5, 6)  # odd: pooling drops a row
NETWORK = resnet12(SHAPE[-1], WIDTHS)
APPLY = jax.jit(with_statistics(NETWORK).apply)
OWN = jax.jit(NETWORK.apply_own)


def _params(rng: np.random.Generator) -> dict[str, Any]:
  """Weights and statistics that are not the defaults, gains of both signs."""
  init = with_statistics(NETWORK).init
  like = jax.eval_shape(init, jax.random.key(0))

  def leaf(path: Any, x: Any) -> np.ndarray:
    luck = rng.normal(size=x.shape)
    return luck**2 if path[-1].key == "var" else luck

  return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(leaf, like))


def _images(rng: np.random.Generator, number: int) -> jax.Array:
  return jnp.asarray(rng.uniform(size=(number, *SHAPE)))


def _textbook(params: dict[str, Any], x: jax.Array) -> jax.Array:
  """Lee et al. 2019: (conv, norm, leaky ReLU) twice, conv, norm, plus the shortcut, leaky
  ReLU, 2×2 max-pooling; the mean over places at the end."""
  leaky = lambda x: jnp.where(x > 0, x, 0.1 * x)  # noqa: E731
  for n in "0123":
    weights, seen = (params[k]["blocks"][n] for k in ("weights", "statistics"))

    def norm(x: jax.Array, name: str, weights: Any = weights, seen: Any = seen) -> Any:
      x = (x - seen[name]["mean"]) / jnp.sqrt(seen[name]["var"] + 1e-5)
      return x * weights[name]["gain"] + weights[name]["bias"]

    y = leaky(norm(lax_convolution(x, weights["conv0"]), "norm0"))
    y = leaky(norm(lax_convolution(y, weights["conv1"]), "norm1"))
    y = norm(lax_convolution(y, weights["conv2"]), "norm2")
    x = leaky(y + norm(x @ weights["shortcut"][0, 0], "norm_shortcut"))
    window = (1, 2, 2, 1)
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
  return x.mean((1, 2))


def test_it_is_the_textbooks():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    params, x = _params(rng), _images(rng, 3)
    found, expected = APPLY(params, x), jax.jit(_textbook)(params, x)
  assert found.shape == (3, WIDTHS[-1])
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_features_do_not_depend_on_the_rest_of_the_batch():
  rng = np.random.default_rng(2)
  params = jax.tree.map(jnp.float32, _params(rng))
  x = jnp.float32(_images(rng, 4))
  together, others = APPLY(params, x), APPLY(params, x.at[1:].set(1 - x[1:]))
  np.testing.assert_array_equal(others[0], together[0])
  assert (np.asarray(others[1:]) != np.asarray(together[1:])).any(1).all()


def test_images_that_do_not_count_have_no_part_in_the_statistics():
  """With their own statistics given, features are the same; others may hold anything."""
  rng = np.random.default_rng(3)
  with jax.enable_x64(True):
    params, x = _params(rng), _images(rng, 5)
    weights = params["weights"]
    alone, seen = OWN(weights, x[:3])
    mask = jnp.array([True, True, True, False, False])
    among, same = OWN(weights, x.at[3:].set(jnp.nan), mask)
    np.testing.assert_allclose(among[:3], alone, rtol=1e-9, atol=1e-9)
    chex.assert_trees_all_close(same, seen, rtol=1e-9, atol=1e-9)
    given = APPLY({"weights": weights, "statistics": seen}, x[:3])
    np.testing.assert_allclose(given, alone, rtol=1e-9, atol=1e-9)
    first = lax_convolution(x[:3], weights["blocks"]["0"]["conv0"])
    np.testing.assert_allclose(
      seen["blocks"]["0"]["norm0"]["mean"], first.mean((0, 1, 2)), rtol=1e-9
    )


def test_a_group_is_normalised_by_itself():
  rng = np.random.default_rng(4)
  with jax.enable_x64(True):
    params, x = _params(rng), _images(rng, 6)
    features, mean = jax.jit(lambda w, x: apply_in_groups(NETWORK, w, x, 3))(
      params["weights"], x
    )
    (first, one), (second, other) = (
      OWN(params["weights"], part) for part in (x[:3], x[3:])
    )
    halves = jax.tree.map(lambda a, b: (a + b) / 2, one, other)
  np.testing.assert_allclose(features, np.concatenate([first, second]), rtol=1e-9)
  chex.assert_trees_all_close(mean, halves, rtol=1e-9, atol=1e-12)


def test_every_normalisation_has_leaves_of_its_own():
  """At `blocks/*/norm*`, gains and biases alone; statistics lie at the same places; and
  each of them matters."""
  weights = NETWORK.init(jax.random.key(0))
  norms = {p: x for p, x in leaves_by_path(weights).items() if "/norm" in p}
  assert len(norms) == 4 * 4 * 2
  assert {p.rsplit("/", 1)[1] for p in norms} == {"gain", "bias"}
  assert norms["blocks/2/norm1/gain"].shape == (WIDTHS[2],)
  kernels = leaves_by_path(weights).keys() - norms.keys()
  assert {p.rsplit("/", 1)[1] for p in kernels} == {"conv0", "conv1", "conv2", "shortcut"}
  places = leaves_by_path(fresh_statistics(weights))
  assert {p.rsplit("/", 1)[0] for p in places} == {p.rsplit("/", 1)[0] for p in norms}
  x = jnp.float32(_images(np.random.default_rng(5), 4))
  loss = lambda weights: jnp.sum(jnp.sin(NETWORK.apply_own(weights, x)[0]))  # noqa: E731
  gradient = leaves_by_path(jax.jit(jax.grad(loss))(weights))
  assert all(float(abs(gradient[p]).max()) > 0 for p in norms)


def test_no_gradient_is_lost_where_places_are_equal():
  """Max-pooling of images of one brightness, of which each place is the largest."""
  x = jnp.full((2, *SHAPE), 0.5, jnp.float32)
  weights = NETWORK.init(jax.random.key(0))
  gradient = jax.jit(jax.grad(lambda w: jnp.sum(NETWORK.apply_own(w, x)[0])))(weights)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("size", [(5, 4), (12, 7)])  # of whole batches, and image by image
def test_the_mixed_form_is_the_librarys(size: tuple[int, int]):
  """Values and both gradients, in float64 to rounding."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.normal(size=(3, *size, 3)))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 2)))
    cotangent = jnp.asarray(rng.normal(size=(3, *size, 2)))
    found = []
    for form in (mixed_convolution, lax_convolution):
      value, pull = jax.vjp(form, x, kernel)
      found.append((value, *pull(cotangent)))
    for ours, theirs in zip(*found, strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
