"""Preconditioning: what an error in its coordinates means, and that it can be undone."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import SHOTS, WAYS, WIDTH, flat, make_generator, make_source

from mcdi_jax.families import Fields, Heads, Networks, TaskFamily
from mcdi_jax.generator import generate_from_features, load_generator, save_generator
from mcdi_jax.generator.storage import blank
from mcdi_jax.lib.errors import InputError
from mcdi_jax.meta import fit_space
from mcdi_jax.meta.batch import draw_tasks
from mcdi_jax.networks import Params
from mcdi_jax.networks.conv4 import apply_with_own_statistics, block_inputs
from mcdi_jax.networks.convolution import convolution, patches_of
from mcdi_jax.tasks import Form
from mcdi_jax.weights import (
  Cut,
  Layer,
  WeightSpace,
  damped_roots,
  leaves_by_path,
  second_moment,
  weight_space,
)

KEY = jax.random.key(0)
DENSE = Layer("w", "b")


def _normal(seed: int, *shape: int) -> Any:
  return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def _with_roots(space: WeightSpace, moments: Any, damping: float) -> WeightSpace:
  roots = tuple(damped_roots(moment, damping) for moment in moments)
  return dataclasses.replace(space, roots=roots)


def _dense(damping: float = 1e-7) -> tuple[WeightSpace, Params, Any]:
  """A space of 6 → 4 with inputs [5, 3, 6] that are far from white."""
  params = {"w": _normal(0, 6, 4), "b": _normal(1, 4)}
  inputs = _normal(2, 5, 3, 6) @ _normal(3, 6, 6) + 1
  space = weight_space(params, {"*": Cut("chunks", size=5)}, gauge=False, layers=[DENSE])
  return _with_roots(space, [second_moment(inputs, True)], damping), params, inputs


def test_an_error_is_as_large_as_that_of_the_layers_outputs():
  """Σ over tokens of the squared error is the mean squared error of W h + b, summed over
  outputs; the homogeneous coordinate included."""
  space, params, inputs = _dense()
  other = {"w": _normal(4, 6, 4), "b": _normal(5, 4)}
  error = space.encode(params) - space.encode(other)
  outputs = lambda p: inputs @ p["w"] + p["b"]  # noqa: E731
  expected = jnp.mean((outputs(params) - outputs(other)) ** 2, (0, 1)).sum()
  np.testing.assert_allclose(jnp.sum(error**2), expected, rtol=1e-4)


def test_a_convolutions_error_is_that_of_its_outputs_over_all_places():
  x, kernel, other = _normal(0, 2, 6, 5, 3), _normal(1, 3, 3, 3, 4), _normal(2, 3, 3, 3, 4)
  cuts, layers = {"k": Cut("rows", 3)}, [Layer("k")]
  space = weight_space({"k": kernel}, cuts, gauge=False, layers=layers)
  inputs = patches_of(x).reshape(2, -1, 27)
  space = _with_roots(space, [second_moment(inputs, False)], 1e-7)
  error = space.encode({"k": kernel}) - space.encode({"k": other})
  of_outputs = convolution(x, kernel) - convolution(x, other)
  expected = jnp.mean(of_outputs**2, (0, 1, 2)).sum()
  np.testing.assert_allclose(jnp.sum(error**2), expected, rtol=1e-4)


@pytest.mark.parametrize("base", [False, True])
def test_decode_undoes_it(base: bool):
  space, params, _ = _dense(0.01)
  space = dataclasses.replace(space, scale=jnp.float32([0.3, 2.0]))
  given = {"w": _normal(6, 6, 4), "b": _normal(7, 4)} if base else None
  found = space.decode(space.encode(params, given), given)
  chex.assert_trees_all_close(found, params, rtol=1e-5, atol=1e-5)
  half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
  own = weight_space(half, {"*": Cut("chunks", size=5)}, gauge=False, layers=[DENSE])
  own = dataclasses.replace(own, roots=space.roots)
  chex.assert_trees_all_equal(own.decode(own.encode(half)), half)


def test_of_classes_in_the_gauge_logits_are_kept():
  """The mean over classes is removed from kernel and bias alike, mixed or not."""
  params = {"head": {"kernel": _normal(0, 6, 5), "bias": _normal(1, 5)}}
  layer, x = Layer("head/kernel", "head/bias"), _normal(2, 7, 6)
  space = weight_space(params, Heads.cuts, layers=[layer])
  space = _with_roots(space, [second_moment(x[:, None], True)], 0.01)
  found = space.decode(space.encode(params))["head"]
  logits = [x @ p["kernel"] + p["bias"] for p in (params["head"], found)]
  centred = [leaf - leaf.mean(1, keepdims=True) for leaf in logits]
  np.testing.assert_allclose(*centred, rtol=1e-4, atol=1e-4)
  tokens = space.encode(params)
  np.testing.assert_allclose(tokens.mean(0), 0.0, atol=1e-5)


def test_a_gradient_meets_a_step_in_the_dual_space_as_it_does_in_weights():
  space, params, _ = _dense(0.01)
  step = {"w": _normal(8, 6, 4), "b": _normal(9, 4)}
  product = sum(jnp.vdot(params[name], step[name]) for name in params)
  plain = dataclasses.replace(space, scale=jnp.ones(2))
  found = jnp.vdot(space.dual.encode(params), plain.encode(step))
  np.testing.assert_allclose(found, product, rtol=1e-4)


def test_masked_items_are_no_part_of_the_second_moment():
  inputs = _normal(0, 4, 2, 3)
  padded = jnp.concatenate([inputs, jnp.full((2, 2, 3), jnp.nan)])
  found = second_moment(padded, True, jnp.arange(6) < 4)
  h = np.append(inputs.reshape(8, 3), np.ones((8, 1)), 1)
  np.testing.assert_allclose(found, h.T @ h / 8, rtol=1e-5)


def test_damping_is_in_units_of_the_mean_eigenvalue():
  """Σ = diag(1, 3): mean 2, so ε = 0.5 adds 1."""
  found = damped_roots(np.diag([1.0, 3.0]), 0.5)
  np.testing.assert_allclose(found.root, np.diag([2**0.5, 2.0]), rtol=1e-6)
  np.testing.assert_allclose(found.inverse, np.diag([2**-0.5, 0.5]), rtol=1e-6)
  silent = damped_roots(np.zeros((2, 2)), 0.5)  # units that θ_0 never switches on
  assert np.isfinite(silent.inverse).all()


def test_a_layer_of_no_leaf_is_told():
  with pytest.raises(InputError, match="has no leaf: there are"):
    weight_space({"w": _normal(0, 2, 3)}, {"*": Cut("rows")}, layers=[DENSE])


@pytest.mark.parametrize(
  "family",
  [
    Heads(image_shape=(16, 16, 1), width=4),
    Networks(image_shape=(16, 16, 1), width=4),
    Fields(image_shape=(6, 6, 1), frequencies=3, hidden=4),
  ],
  ids=lambda family: family.name,
)
def test_families_say_what_their_layers_are_given(family: TaskFamily):
  """As many inputs as the roots have, and, layer after layer, what makes their outputs."""
  frozen = family.init_frozen(KEY)
  given = family.example(Form(2, 3))
  x = jax.random.uniform(KEY, given.x.shape)
  support = given._replace(x=family.embed(frozen, x))
  params = family.init(frozen, KEY, support.x, 2)
  space = weight_space(params, family.cuts, layers=family.layers)
  inputs = family.layer_inputs(frozen, support)
  for own, layer, roots in zip(inputs, family.layers, space.roots, strict=True):
    assert own.shape[0] == len(support.x)
    assert own.shape[2] + bool(layer.bias) == len(roots.root)
  if family.name == "networks":
    _check_blocks(frozen["init"]["blocks"], inputs, support.x)
  if family.name != "heads":
    leaves = leaves_by_path(frozen["init"] | params)
    last = family.layers[-1]
    outputs = inputs[-1][:, 0] @ leaves[last.kernel] + leaves[last.bias]
    found = family.fitted(frozen, params, support)
    np.testing.assert_allclose(outputs, found, rtol=1e-4, atol=1e-5)


def _check_blocks(blocks: Params, inputs: Any, x: Any) -> None:
  """Patches times kernel is the convolution of what the blocks before put out; of images
  that do not count, NaN or not, there is no trace."""
  in_order = [blocks[str(n)] for n in range(len(blocks))]
  mask = jnp.arange(len(x)) != 1
  masked = block_inputs(in_order, x.at[1].set(jnp.nan), mask)
  alone = block_inputs(in_order, x[mask])
  for n, own in enumerate(in_order):
    before, _ = apply_with_own_statistics(in_order[:n], x)
    images = before.reshape(len(x), x.shape[1] >> n, x.shape[2] >> n, -1)
    expected = convolution(images, own["kernel"])
    found = inputs[n] @ own["kernel"].reshape(-1, expected.shape[-1])
    np.testing.assert_allclose(
      found.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(masked[n][mask], alone[n], rtol=1e-3, atol=1e-4)


def test_roots_are_fitted_to_the_supports_of_the_bank_and_kept(tmp_path: Any):
  """Of heads: Σ of the items of the classes, as numpy has it, within the luck of a draw of
  64 supports; a generator on disk comes back with them, and makes the same weights."""
  source, plain = make_source(), make_generator(base="prototypes")
  spec = dataclasses.replace(plain.spec, precondition=0.01)
  made = blank(spec, KEY)
  made = dataclasses.replace(made, score=plain.score, schedule=plain.schedule)
  fitted = fit_space(made, source, KEY)
  x = np.float64(source.items.x)
  h = np.append(x, np.ones((len(x), 1)), 1)
  moment = h.T @ h / len(h)
  moment += 0.01 * np.trace(moment) / len(moment) * np.eye(len(moment))
  (roots,) = fitted.space.roots
  np.testing.assert_allclose(roots.root @ roots.root, moment, rtol=0.25, atol=0.25)
  np.testing.assert_allclose(roots.root @ roots.inverse, np.eye(len(moment)), atol=1e-4)
  batch = draw_tasks(KEY, source, fitted, form=0, tasks=64)
  rms = fitted.space.leaf_rms(batch.targets)
  np.testing.assert_allclose(rms, 1.0, rtol=0.1)  # the scale is of the new coordinates
  save_generator(tmp_path / "g", fitted)
  loaded = load_generator(tmp_path / "g")
  chex.assert_trees_all_equal(loaded.space, fitted.space)
  support = flat(jax.random.normal(KEY, (WAYS, SHOTS, WIDTH)))
  found = [generate_from_features(g, support, KEY) for g in (loaded, fitted, plain)]
  chex.assert_trees_all_equal(*found[:2])
  assert not np.allclose(found[0]["head"]["kernel"], found[2]["head"]["kernel"], rtol=0.01)
