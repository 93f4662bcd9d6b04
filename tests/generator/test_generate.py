import dataclasses
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import IMAGE, SHOTS, STEPS, WAYS, WIDTH, flat, make_support

from mcdi_jax.generator import generate, generate_from_features
from mcdi_jax.generator.generate import _check_kinds
from mcdi_jax.generator.specification import SCORE_NETWORKS
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Support

NETWORKS = list(SCORE_NETWORKS)
ROUNDING = 3e-5  # float32, through T = 6 steps of a network


@pytest.fixture(params=NETWORKS)
def generator(request, make_generator):
  return make_generator(request.param)


@pytest.fixture
def transformer(make_generator):
  return make_generator("transformer")


@pytest.fixture
def support():
  return make_support()


def make_features():
  """Features by class, and noise in the gauge."""
  rng = np.random.default_rng(3)
  shots = rng.normal(size=(WAYS, SHOTS, WIDTH))
  noise = rng.normal(size=(WAYS, WIDTH + 1))
  return jnp.float32(shots), jnp.float32(noise - noise.mean(0))


def close(a, b, atol=ROUNDING):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_permuting_the_classes_permutes_the_tokens(generator, sampled, temperature):
  """At τ > 0 with the initial noise permuted likewise."""
  shots, noise = make_features()
  order = np.array([2, 0, 1])
  tokens = sampled(generator, shots, noise, temperature)
  found = sampled(generator, shots[order], noise[order], temperature)
  np.testing.assert_allclose(found, tokens[order], atol=ROUNDING)
  assert abs(found - tokens).max() > 1e-2  # not in vain


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_turning_the_features_turns_the_tokens(make_generator, sampled, temperature):
  """Of the equivariant network; at τ > 0 with the initial noise turned likewise."""
  generator = make_generator("equivariant")
  shots, noise = make_features()
  q = np.float32(np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH,) * 2))[0])
  turned = np.concatenate([noise[:, :WIDTH] @ q, noise[:, WIDTH:]], 1)
  tokens = sampled(generator, shots, noise, temperature)
  found = sampled(generator, shots @ q, turned, temperature)
  np.testing.assert_allclose(found[:, :WIDTH], tokens[:, :WIDTH] @ q, atol=ROUNDING)
  np.testing.assert_allclose(found[:, WIDTH:], tokens[:, WIDTH:], atol=ROUNDING)
  assert abs(found - tokens).max() > 1e-2  # not in vain


def test_temperature_scales_the_initial_noise(generator, sampled):
  """τ = 0 forgets it; τ = ½ of z is τ = 1 of ½ z where nothing is injected."""
  shots, noise = make_features()
  equal(sampled(generator, shots, noise, 0.0), sampled(generator, shots, 3 * noise, 0.0))
  half = sampled(generator, shots, noise, 0.5)
  close(half, sampled(generator, shots, 0.5 * noise, 1.0), atol=1e-6)  # ulps
  assert abs(half - sampled(generator, shots, noise, 0.0)).max() > 1e-3


def test_result_is_a_head_in_the_gauge(generator, support, key):
  params = generate(generator, support, key, temperature=1.0)
  shapes = jax.tree.map(jnp.shape, params)
  assert shapes == {"head": {"kernel": (WIDTH, WAYS), "bias": (WAYS,)}}
  for leaf in jax.tree.leaves(params):  # classes are the last axis of both
    np.testing.assert_allclose(leaf.mean(-1), 0, atol=1e-6)  # float32 rounding
    assert abs(leaf).max() > 1e-2


def test_ancestral_noise_stays_in_the_gauge(make_generator, sampled):
  shots, noise = make_features()
  tokens = sampled(make_generator("transformer", ancestral=True), shots, noise, 1.0)
  np.testing.assert_allclose(tokens.mean(0), 0, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("ancestral", [False, True])
def test_at_zero_temperature_the_key_does_not_matter(make_generator, ancestral, support):
  generator = make_generator("transformer", ancestral=ancestral)
  keys = jax.random.split(jax.random.key(4), 2)
  cold = [generate(generator, support, k) for k in keys]
  equal(*cold)
  warm = [generate(generator, support, k, temperature=1.0) for k in keys]
  difference = warm[0]["head"]["kernel"] - warm[1]["head"]["kernel"]
  assert abs(difference).max() > 1e-3


def test_renaming_the_classes_permutes_the_head(generator, support, key):
  params = generate(generator, support, key)
  name = jnp.array([2, 0, 1])
  renamed = generate(generator, support._replace(y=name[support.y]), key)
  close(jax.tree.map(lambda leaf: leaf[..., name], renamed), params)


def test_the_order_of_the_support_does_not_matter(generator, support, key):
  order = np.random.default_rng(5).permutation(WAYS * SHOTS)
  mixed = Support(support.x[order], support.y[order])
  close(generate(generator, mixed, key), generate(generator, support, key))


def uneven_support():
  """Classes of 1, 3 and 2 images, in no order."""
  x = np.random.default_rng(6).uniform(size=(6, *IMAGE))
  return Support(jnp.float32(x), jnp.array([1, 0, 2, 1, 1, 2]))


def padded(support, ways, seed=7):
  """With masked items among its own: of its classes, and of others up to `ways`."""
  rng = np.random.default_rng(seed)
  more = 2 * ways
  order = rng.permutation(len(support.y) + more)
  x = np.concatenate([support.x, rng.uniform(size=(more, *IMAGE))])
  y = np.concatenate([support.y, np.tile(np.arange(ways), 2)])
  mask = np.arange(len(y)) < len(support.y)
  arrays = (np.float32(x), np.int32(y), mask)
  return Support(*(jnp.asarray(a[order]) for a in arrays))


@pytest.mark.parametrize("base", ["none", "prototypes"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_masked_items_change_nothing(make_generator, network, base, temperature, key):
  """The same items, alone or among masked ones, of equal and of unequal classes. With
  more ways than classes, the others have logits −∞ and the noise stays what it was."""
  generator = make_generator(network, base=base, ancestral=True)
  settings = {"temperature": temperature}
  for support in (make_support(), uneven_support()):
    alone = generate(generator, support, key, **settings)
    close(generate(generator, padded(support, WAYS), key, **settings), alone)
    wide = generate(generator, padded(support, WAYS + 2), key, ways=WAYS + 2, **settings)
    close(jax.tree.map(lambda leaf: leaf[..., :WAYS], wide), alone)
    logits = generator.network.apply(wide, support.x)
    assert (logits[:, WAYS:] == -np.inf).all() and np.isfinite(logits[:, :WAYS]).all()


def test_what_is_masked_may_hold_anything(generator, key):
  """Not even a gradient is touched by it."""
  support = make_support()
  hidden = padded(support, WAYS)
  wild = jnp.where(hidden.mask[:, None, None, None], hidden.x, jnp.nan)

  def loss(x, frozen):
    made = dataclasses.replace(generator, frozen=frozen)
    return jnp.sum(generate(made, hidden._replace(x=x), key)["head"]["kernel"] ** 2)

  gradient = jax.grad(loss, (0, 1))
  expected, found = (gradient(x, generator.frozen) for x in (hidden.x, wild))
  close(found, expected)
  assert abs(expected[0][hidden.mask]).max() > 1e-6  # not in vain
  assert not np.any(found[0][~hidden.mask])
  close(
    generate(generator, hidden._replace(x=wild), key), generate(generator, support, key)
  )


def test_a_class_counts_the_same_however_many_images_it_has(make_generator, key):
  """Each image of one class twice: means stay, so prototypes stay."""
  generator = make_generator("equivariant", base="prototypes")
  idle = dataclasses.replace(generator, score=jax.tree.map(jnp.zeros_like, generator.score))
  support = uneven_support()
  twice = np.concatenate([np.arange(6), np.flatnonzero(support.y == 1)])
  more = Support(support.x[twice], support.y[twice])
  close(generate(idle, more, key), generate(idle, support, key))


def test_lists_and_whole_numbers_of_any_kind_are_taken(transformer, key):
  support = make_support()
  plain = generate(transformer, support, key, ways=WAYS)
  lists = Support(np.asarray(support.x).tolist(), np.asarray(support.y).tolist())
  equal(generate(transformer, lists, key, ways=jnp.int32(WAYS)), plain)
  equal(generate(transformer, support, key, ways=np.int64(WAYS)), plain)


def test_the_precision_of_a_generator_is_that_of_its_matmuls(transformer, key):
  """Whatever is set around it, in generation and in application, and nothing else."""
  support = make_support()

  def precisions(generator, f):
    with jax.default_matmul_precision("default"):
      text = str(jax.make_jaxpr(f)(generator))
    return re.findall(r" precision=(\S+)", text)

  other = dataclasses.replace(transformer.spec, matmul_precision="default")
  loose = dataclasses.replace(transformer, spec=other)
  params = generate(transformer, support, key)
  for f in (
    lambda g: generate(g, support, key),
    lambda g: g.network.apply(params, support.x),
  ):
    found = precisions(transformer, f)
    assert found and all("HIGHEST" in p for p in found)
    assert any("DEFAULT" in p for p in precisions(loose, f))


def test_arguments_of_another_kind_are_named(transformer, support, key):
  """Asked directly: in tests, types are checked before `generate` is entered."""
  cases = {
    "generator is a str: give what load_generator": ("omniglot-5way", support, key),
    "support is a tuple: give a mcdi_jax.Support": (transformer, tuple(support), key),
    r"key is a int: give one jax\.random\.key": (transformer, support, 0),
    "key is a NoneType": (transformer, support, None),
    r"key is a .* of shape \(2,\)": (transformer, support, jax.random.split(key)),
  }
  for message, arguments in cases.items():
    with pytest.raises(InputError, match=message):
      _check_kinds(*arguments)
  _check_kinds(transformer, support, jax.random.PRNGKey(0))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, np.float64])
def test_images_of_any_float_are_computed_in_float32(transformer, key, dtype):
  """Half precision rounds the images alone; they are exact here."""
  support = make_support()._replace(x=np.round(make_support().x * 16) / 16)
  plain = generate(transformer, support, key)
  other = support._replace(x=np.asarray(support.x).astype(dtype))
  equal(generate(transformer, other, key), plain)
  apply = jax.jit(transformer.network.apply)
  equal(apply(plain, other.x), apply(plain, support.x))


def test_a_network_takes_no_images_and_refuses_what_are_none(transformer, key):
  params = generate(transformer, make_support(), key)
  assert transformer.network.apply(params, jnp.zeros((0, *IMAGE))).shape == (0, WAYS)
  listed = np.zeros((1, *IMAGE)).tolist()
  assert transformer.network.apply(params, listed).shape == (1, WAYS)
  with pytest.raises(InputError, match=r"x is uint8.*x / 255"):
    transformer.network.apply(params, jnp.zeros((2, *IMAGE), jnp.uint8))
  with pytest.raises(InputError, match=r"x has shape \(2, 8, 16, 1\)"):
    transformer.network.apply(params, jnp.zeros((2, 8, 16, 1)))


def test_vmap_over_supports_keys_and_temperatures(transformer, key):
  supports = [make_support(seed) for seed in (1, 2)]
  keys, temperatures = jax.random.split(key, 2), jnp.array([0.0, 1.0])
  stacked = jax.tree.map(lambda *a: jnp.stack(a), *supports)
  found = jax.vmap(lambda s, k, t: generate(transformer, s, k, temperature=t))(
    stacked, keys, temperatures
  )
  for n, support in enumerate(supports):
    plain = generate(transformer, support, keys[n], temperature=temperatures[n])
    close(jax.tree.map(lambda leaf, n=n: leaf[n], found), plain)


def test_gradients_reach_every_image_and_the_whole_generator(transformer, support, key):
  """The support is the condition: every image has its part in the weights. The gradient
  of a generator is a generator, and the kernel is linear in its leaf's scale."""

  def loss(generator, x):
    params = generate(generator, Support(x, support.y), key)
    return jnp.sum(params["head"]["kernel"][:, 0])

  value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(transformer, support.x)
  np.testing.assert_allclose(value, loss(transformer, support.x), atol=ROUNDING)
  of_generator, of_images = gradients
  assert jax.tree.structure(of_generator) == jax.tree.structure(transformer)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
  assert (abs(of_images).max((1, 2, 3)) > 1e-8).all()
  expected = [value / transformer.space.scale[0], 0.0]
  np.testing.assert_allclose(of_generator.space.scale, expected, atol=ROUNDING)
  learned = jax.tree.leaves((of_generator.score, of_generator.frozen))
  assert np.mean([np.any(g != 0) for g in learned]) > 0.9


def test_jit_gives_what_the_plain_call_gives_and_compiles_once(transformer, key, programs):
  chex.clear_trace_counter()
  once = chex.assert_max_traces(generate, n=1)
  jitted = jax.jit(once, static_argnames="ways")
  supports = [make_support(seed) for seed in (1, 2)]
  found = [
    jitted(transformer, support, key, temperature=0.25 * n, ways=WAYS)
    for n, support in enumerate(supports)
  ]
  generate(transformer, supports[0], key)
  compiled = programs("_generate")
  for n, support in enumerate(supports):
    close(found[n], generate(transformer, support, key, temperature=0.25 * n))
  assert programs("_generate") == compiled  # the plain call compiles once too


def test_every_leaf_of_a_generator_is_float(generator):
  assert all(
    jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(generator)
  )


def test_base_is_added_to_the_generated_difference(make_generator, sampled):
  """From features, without a backbone: params are prototypes plus the decoded tokens."""
  plain = make_generator("transformer")
  delta = dataclasses.replace(
    plain, spec=dataclasses.replace(plain.spec, base="prototypes")
  )
  shots, noise = make_features()
  tokens = sampled(plain, shots, noise, 0.0)
  support = flat(shots)
  found = jax.jit(generate_from_features)(delta, support, jax.random.key(0))
  mean = shots.mean(1)
  kernel = mean.T + plain.space.scale[0] * tokens[:, :WIDTH].T
  bias = -0.5 * np.sum(mean**2, 1) + plain.space.scale[1] * tokens[:, WIDTH]
  close(found, {"head": {"kernel": kernel, "bias": bias}})


def test_ridge_is_a_base_too(make_generator):
  """With a network that says nothing the head is ridge's: Σ‖Wᵀx + b − y‖² + ‖W‖² has no
  slope there; items that do not count may hold anything."""
  plain = make_generator("transformer")
  idle = dataclasses.replace(
    plain,
    score=jax.tree.map(jnp.zeros_like, plain.score),
    spec=dataclasses.replace(plain.spec, base="ridge"),
  )
  shots, _ = make_features()
  support = flat(shots)
  wild = jnp.full((1, support.x.shape[1]), jnp.nan)
  padded = Support(
    jnp.concatenate([support.x, wild]),
    jnp.append(support.y, 0),
    jnp.arange(len(support.x) + 1) < len(support.x),
  )
  found = generate_from_features(idle, padded, jax.random.key(0))
  close(found, generate_from_features(idle, support, jax.random.key(0)))

  def objective(params: Any) -> Any:
    error = idle.outputs(params, support.x) - (2 * jax.nn.one_hot(support.y, WAYS) - 1)
    return jnp.sum(error**2) + jnp.sum(params["head"]["kernel"] ** 2)

  slope = jax.grad(objective)(found)
  assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-4


def test_network_classifies_with_generated_params(transformer, support, key):
  params = generate(transformer, support, key)
  logits = transformer.network.apply(params, support.x)
  features = transformer.spec.family.embed(transformer.frozen, support.x)
  expected = features @ params["head"]["kernel"] + params["head"]["bias"]
  np.testing.assert_allclose(logits, expected, atol=ROUNDING)
  assert set(transformer.merge(params)) == {"backbone", "head"}
  with pytest.raises(TypeError, match="generate"):
    transformer.network.init(key)


def test_sample_gives_tokens_and_the_path_there(transformer):
  shots, noise = make_features()
  tokens, path = jax.eval_shape(
    lambda condition: transformer.sample(condition, jax.random.key(0), temperature=1.0),
    jax.eval_shape(lambda s: transformer.condition(s, WAYS), flat(shots)),
  )
  assert path.shape == (STEPS, *tokens.shape) and tokens.shape == noise.shape


BAD_INPUT = {
  "wrong image shape": (
    lambda s: s._replace(x=s.x[:, :12]),
    {},
    r"support\.x has shape \(6, 12, 16, 1\).*16, 16, 1",
  ),
  "no channel axis": (lambda s: s._replace(x=s.x[..., 0]), {}, r"support\.x has shape"),
  "integer images": (
    lambda s: s._replace(x=jnp.uint8(255 * s.x)),
    {},
    r"support\.x is uint8.*x / 255",
  ),
  "images up to 255": (lambda s: s._replace(x=255 * s.x), {}, r"support\.x.*\[0, 1\]"),
  "negative images": (lambda s: s._replace(x=s.x - 0.5), {}, r"support\.x.*\[0, 1\]"),
  "images not a number": (
    lambda s: s._replace(x=s.x.at[0].set(jnp.nan)),
    {},
    r"support\.x.*\[0, 1\]",
  ),
  "label too large": (
    lambda s: s._replace(y=s.y + 1),
    {},
    r"support\.y runs from 1 to 3.*0\.\.2",
  ),
  "negative label": (lambda s: s._replace(y=s.y - 1), {}, r"support\.y runs from -1"),
  "float labels": (lambda s: s._replace(y=jnp.float32(s.y)), {}, r"support\.y is float32"),
  "labels missing": (lambda s: s._replace(y=s.y[:-1]), {}, r"support\.y is int32 \(5,\)"),
  "labels of unequal parts": (
    lambda s: s._replace(y=[[0, 1], [2]]),
    {},
    r"support\.y is a list",
  ),
  "a mask of numbers": (
    lambda s: s._replace(mask=jnp.ones(6)),
    {},
    r"support\.mask is float32 \(6,\)",
  ),
  "all masked": (
    lambda s: s._replace(mask=jnp.zeros(6, bool)),
    {},
    r"support\.y has \[0, 0, 0\] items a class",
  ),
  "ways between numbers": (lambda s: s, {"ways": 2.5}, "ways is 2.5: give a whole number"),
  "a class without items": (
    lambda s: s._replace(y=s.y % 2),
    {},
    r"support\.y has .* items a class",
  ),
  "no items": (lambda s: Support(s.x[:0], s.y[:0]), {}, r"support\.y|the support"),
  "temperature above 1": (lambda s: s, {"temperature": 1.5}, "temperature is 1.5"),
  "negative temperature": (lambda s: s, {"temperature": -0.1}, "temperature is -0.1"),
  "temperature not a number": (
    lambda s: s,
    {"temperature": float("nan")},
    "temperature is nan",
  ),
  "temperature as text": (lambda s: s, {"temperature": "0.5"}, "temperature is '0.5'"),
  "several temperatures": (lambda s: s, {"temperature": [0, 1]}, r"temperature is \[0, 1"),
  "one way": (lambda s: s, {"ways": 1}, "ways is 1"),
  "ways that the support does not have": (lambda s: s, {"ways": 4}, r"support\.y has"),
  "a billion ways": (lambda s: s, {"ways": 10**9}, r"^support\.y has .{1,99}$"),
}


@pytest.mark.parametrize("case", list(BAD_INPUT))
def test_bad_input_is_refused_by_name(case, transformer, support, key):
  change, settings, message = BAD_INPUT[case]
  with pytest.raises(InputError, match=message) as caught:
    generate(transformer, change(support), key, **settings)
  assert isinstance(caught.value, ValueError)


def test_ways_must_be_named_where_several_were_trained(make_generator, support, key):
  several = make_generator("transformer", ways=(3, 5))
  with pytest.raises(InputError, match=r"ways is not given.*\(3, 5\)"):
    generate(several, support, key)
  shapes = jax.eval_shape(lambda s: generate(several, s, key, ways=WAYS), support)
  assert shapes["head"]["kernel"].shape == (WIDTH, WAYS)


def test_shapes_are_checked_under_jit_too(transformer, key):
  images = jnp.zeros((7, *IMAGE))
  with pytest.raises(InputError, match=r"support\.y is int32 \(6,\)"):
    jax.eval_shape(
      lambda x: generate(transformer, Support(x, jnp.zeros(6, int)), key), images
    )
  with pytest.raises(InputError, match=r"ways is traced: make it static"):
    jax.eval_shape(lambda n: generate(transformer, make_support(), key, ways=n), 3)
  with pytest.raises(InputError, match=r"support\.x has shape"):
    jax.eval_shape(
      lambda x: generate(transformer, Support(x, jnp.zeros(7, int)), key), images[:, 1:]
    )
