"""Classification as pretraining, its augmentation, and the look at validation classes."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import ClassSet, from_labels
from mcdi_jax.data.augment import cropped, flipped, jittered
from mcdi_jax.lib.config import content_hash
from mcdi_jax.lib.errors import InputError
from mcdi_jax.networks import Normalised, conv4
from mcdi_jax.networks.objectives import classification, gradient_over_groups
from mcdi_jax.networks.pretrain import BackboneConfig, pretrained, pretraining
from mcdi_jax.networks.validation import validation

CONFIG = BackboneConfig(
  width=4,
  objective="classification",
  steps=30,
  ways=6,
  drawings=4,
  group=12,
  rate=0.1,
  warp=0.0,
)
NETWORK = conv4(3, CONFIG.width)


@pytest.fixture(scope="module")
def images() -> ClassSet:
  """Eight colours under noise."""
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(8), 6)
  colours = rng.uniform(60, 190, (8, 1, 1, 3))[labels]
  x = colours + rng.normal(scale=25, size=(48, 16, 16, 3))
  made = from_labels(np.clip(x, 0, 255).astype(np.uint8), labels)
  return jax.tree.map(jnp.asarray, made)


def test_a_gradient_over_groups_is_that_of_the_mean():
  """With the auxiliary output's mean; float64."""

  def loss(weights: Any, x: Any, y: Any) -> Any:
    right = jnp.tanh(x @ weights["w"]) - y
    return jnp.mean(right**2), {"top": right.max()}

  rng = np.random.default_rng(1)
  with jax.enable_x64(True):
    weights = {"w": jnp.asarray(rng.normal(size=3))}
    x, y = jnp.asarray(rng.normal(size=(4, 5, 3))), jnp.asarray(rng.normal(size=(4, 5)))
    found = jax.jit(lambda w: gradient_over_groups(loss, w, x, y))(weights)

    def mean(weights: Any) -> Any:
      each = [loss(weights, *group) for group in zip(x, y, strict=True)]
      return jax.tree.map(lambda *parts: sum(parts) / 4, *each)

    expected = jax.value_and_grad(mean, has_aux=True)(weights)
  chex.assert_trees_all_close(found, expected, rtol=1e-12)


def _two_numbers() -> Normalised:
  """A network of two weights, whose statistics are the mean of what it sees."""

  def apply_own(weights: Any, x: Any, mask: Any = None) -> Any:
    features = x.mean((1, 2)) * weights["norm"]["gain"] - weights["norm"]["bias"]
    return features, {"norm": {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}}

  weights = {"norm": {"gain": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.zeros(3)}}
  return Normalised(lambda key: weights, lambda *_: None, apply_own, lambda *_: None)


def test_the_loss_is_cross_entropy_with_smoothed_labels(images: ClassSet):
  """Of all classes, against its formula; an image has the label of its class, in whatever
  order images are normalised; statistics are the mean of the groups'."""
  network, chosen = _two_numbers(), jnp.array([5, 2, 7])
  x = images.x[images.index[chosen, :4].reshape(-1)] / 255.0
  order = jnp.asarray(np.random.default_rng(2).permutation(12))
  made = classification(
    network, lambda *_: (x, chosen, order), 6, width=3, classes=8, smoothing=0.2
  )
  weights = made.init(jax.random.key(0))
  (loss, (seen, right)), gradient = jax.jit(made.gradient)(
    weights, jax.random.key(1), images
  )
  features, _ = network.apply_own(weights["network"], x)
  logits = features @ weights["classifier"]["kernel"] + weights["classifier"]["bias"]
  log_p, y = np.asarray(jax.nn.log_softmax(logits)), np.repeat(np.asarray(chosen), 4)
  own = log_p[np.arange(12), y]
  np.testing.assert_allclose(loss, np.mean(-0.8 * own - 0.2 * log_p.mean(1)), rtol=1e-5)
  np.testing.assert_allclose(right, np.mean(log_p.argmax(1) == y), rtol=1e-6)
  groups = np.asarray(x[order]).reshape(2, -1, 3)
  np.testing.assert_allclose(seen["norm"]["var"], groups.var(1).mean(0), rtol=1e-4)
  target = 0.8 * np.eye(8)[y] + 0.2 / 8
  bias = (np.exp(log_p) - target).mean(0)
  np.testing.assert_allclose(gradient["classifier"]["bias"], bias, atol=1e-6)


def test_classification_learns_and_leaves_a_backbone(images: ClassSet):
  """The loss falls, and what is left is the network alone, with running statistics."""
  init, step = pretraining(NETWORK, CONFIG, images)
  state, rows = init(jax.random.key(0)), []
  for _ in range(CONFIG.steps):
    state, metrics = step(state, jax.random.key(1), images)
    rows.append(jax.device_get(metrics))
  loss = [row["loss"] for row in rows]
  assert np.mean(loss[-8:]) < 0.85 * np.mean(loss[:8])
  assert len({float(x) for x in loss}) == CONFIG.steps  # each its own batch
  params = pretrained(state, CONFIG)
  like = jax.eval_shape(NETWORK.init, jax.random.key(0))
  chex.assert_trees_all_equal_shapes(params["weights"], like)
  assert all((np.asarray(seen["var"]) != 1).all() for seen in params["statistics"])


def test_validation_is_the_nearest_class_mean(images: ClassSet):
  """On features that tell all classes apart it is right, on constant ones at chance; on
  the same tasks whatever the params."""
  enough = from_labels(np.repeat(np.asarray(images.x), 4, 0), np.repeat(np.arange(8), 24))
  enough = jax.tree.map(jnp.asarray, enough)
  colour = lambda p, x: p * (x.mean((1, 2)) - 0.5)  # noqa: E731
  look = validation(colour, jax.random.key(0), tasks=40)
  found = look(jnp.float32(1), enough)
  assert found.keys() == {"val_5w1s", "val_5w5s"}
  assert 60 < found["val_5w1s"] <= found["val_5w5s"] <= 100
  assert look(jnp.float32(3), enough) == found  # lengths do not count
  chance = look(jnp.float32(0), enough)["val_5w5s"]
  np.testing.assert_allclose(chance, 20, atol=1e-3)  # all queries are put in one class


def test_augmentation_is_what_it_says():
  rng = np.random.default_rng(3)
  x = jnp.float32(rng.uniform(0.2, 0.8, (6, 5, 3)))
  keys = jax.random.split(jax.random.key(0), 40)
  mirrored = [bool((flipped(x, k) == x[:, ::-1]).all()) for k in keys]
  assert all(
    m or bool((flipped(x, k) == x).all()) for m, k in zip(mirrored, keys, strict=True)
  )
  assert 8 < sum(mirrored) < 32
  padded = np.pad(np.asarray(x), ((2, 2), (2, 2), (0, 0)))
  windows = [padded[i : i + 6, j : j + 5].tobytes() for i in range(5) for j in range(5)]
  seen = {windows.index(np.asarray(cropped(x, k, 2)).tobytes()) for k in keys}
  assert len(seen) > 10
  changed = jax.vmap(lambda k: jittered(x, k, 0.2))(keys)
  assert float(changed.min()) >= 0 and float(changed.max()) <= 1
  brightness = np.asarray(changed.mean((1, 2, 3)) / x.mean())
  assert brightness.min() > 0.79 and brightness.max() < 1.21 and brightness.std() > 0.05
  np.testing.assert_allclose(jittered(x, keys[0], 0.0), x, atol=1e-6)
  grey = jnp.full((4, 4, 3), 0.5)
  same = jittered(grey, keys[1], 0.4)
  np.testing.assert_allclose(same, same[0, 0, 0], atol=1e-6)  # no colour comes of none


def test_what_is_newer_leaves_caches_their_names():
  """Pinned: backbones on disk are found under this hash by later versions too."""
  name = lambda config: content_hash(config.content())[:16]  # noqa: E731
  before = BackboneConfig()
  assert name(before) == "2ff34d018ec86929"
  assert name(dataclasses.replace(before, validate_every=100)) == name(before)
  for change in (
    {"network": "resnet12"},
    {"widths": (1, 2, 3, 4)},
    {"objective": "classification"},
    {"label_smoothing": 0.0},
    {"flip": True},
    {"crop": 2},
    {"jitter": 0.1},
    {"unit_length": True},
    {"rate": 0.1},
  ):
    assert name(dataclasses.replace(before, **change)) != name(before)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"widths": (8, 16)}, r"config\.backbone\.widths is \(8, 16\): give four numbers"),
    ({"crop": -1}, r"config\.backbone\.crop is -1: give at least 0"),
    ({"jitter": 1.0}, r"config\.backbone\.jitter is 1\.0: give a share"),
    ({"label_smoothing": -0.1}, r"config\.backbone\.label_smoothing is -0\.1"),
    ({"group": 7}, r"config\.backbone\.group is 7: it must divide the 24 images"),
  ],
)
def test_what_cannot_be_is_one_sentence(change: dict[str, Any], said: str):
  with pytest.raises(InputError, match=said):
    dataclasses.replace(CONFIG, **change)
