"""A million weights: an MLP of 1,070,000 weights for each relabelling of distorted digits.

  python -m launch.run --config configs/million.py --data PATH/mnist.npz \\
      --workdir runs/million

Drawn glyphs of ten classes without --data. A task is an order of the ten classes and a
distortion: a turn or a reflection, ink dark or bright, and a slight warp, the same for all
of its images. Five labelled images of each class are the condition, with the gradient of
their loss; order and distortion are to be read from them. The bank has 208 networks,
2.7 GB, of which 1 GiB is held at a time. BUILD_NOTES.md has the figures.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.data import from_labels
from mcdi_jax.data.augment import warp
from mcdi_jax.data.class_set import to_unit
from mcdi_jax.data.glyphs import glyphs
from mcdi_jax.data.npz import read_npz
from mcdi_jax.families import Batch
from mcdi_jax.families.few_shot_images import FewShotImages
from mcdi_jax.networks import unit_prototype_head
from mcdi_jax.pipeline import Suite, own_config
from mcdi_jax.tasks import Task, class_means, membership
from mcdi_jax.weights import Cut

CLASSES, TOKENS = 10, 240
DRAWN, BATCH = 100, 20  # images a class of a bank's task; of one step


def distorted(x, number):
  """Images [n, h, w, 1] as the distortion of this number shows them."""
  key = jax.random.fold_in(jax.random.key(0), number)
  k_turn, k_ink, k_warp = jax.random.split(key, 3)
  turns = [lambda x, r=r: jnp.rot90(x, r, (1, 2)) for r in range(4)]
  turns += [lambda x, r=r: jnp.rot90(x[:, ::-1], r, (1, 2)) for r in range(4)]
  x = jax.lax.switch(jax.random.randint(k_turn, (), 0, 8), turns, to_unit(x))
  x = jax.vmap(lambda image: warp(image, k_warp))(x)
  return jnp.where(jax.random.bernoulli(k_ink), 1 - x, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Million(FewShotImages):
  hidden: tuple[int, ...] = (1024, 256)
  name: ClassVar[str] = "million"
  bases: ClassVar[tuple[str, ...]] = ("none", "init", "prototypes")
  one_by_one: ClassVar[bool] = True

  @property
  def sizes(self):
    return (int(np.prod(self.image_shape)), *self.hidden)

  @property
  def cuts(self):
    weights = sum(a * b for a, b in zip(self.sizes, self.hidden, strict=False))
    return {**FewShotImages.cuts, "layer_*": Cut("chunks", size=-(-weights // TOKENS))}

  def draw_task(self, key, items, ways):
    k_order, k_distortion = jax.random.split(key)
    order = jax.random.permutation(k_order, ways)
    return {"order": order, "distortion": jax.random.randint(k_distortion, (), 0, 2**30)}

  def padded_task(self, tasks):
    return tasks

  def unpadded(self, bank, form):
    return bank

  def clusters(self, items, task):
    return task["order"]

  def support(self, key, items, task, shots, *, form=None):
    support = super().support(key, items, task["order"], shots, form=form)
    return support._replace(x=distorted(support.x, task["distortion"]))

  def examples(self, key, items, task, protocol, *, form=None):
    parts = super().examples(key, items, task["order"], protocol, form=form)
    return Task(*(part._replace(x=distorted(part.x, task["distortion"])) for part in parts))

  def versions(self, items):
    return items

  def preparation_items(self, key, items, task, on, *, shots, queries):
    x, y, mask = self.support(key, items, task, DRAWN)
    return Batch(x, y, mask.astype(jnp.float32))

  def preparation_batch(self, key, gathered):
    chosen = jax.random.choice(key, len(gathered.y), (CLASSES * BATCH,), replace=False)
    return jax.tree.map(lambda leaf: leaf[chosen], gathered)

  def fresh(self, key):
    keys = jax.random.split(key, len(self.hidden))
    params = {
      f"layer_{n}": {
        "kernel": jax.random.normal(keys[n], (a, b)) * (2 / a) ** 0.5,
        "bias": jnp.zeros(b),
      }
      for n, (a, b) in enumerate(zip(self.sizes, self.hidden, strict=False))
    }
    head = {"kernel": jnp.zeros((self.hidden[-1], CLASSES)), "bias": jnp.zeros(CLASSES)}
    return {**params, "head": head}  # zero, as classes are a set

  def features(self, params, x):
    x = x.reshape(len(x), -1)
    for n in range(len(self.hidden)):
      x = jax.nn.relu(x @ params[f"layer_{n}"]["kernel"] + params[f"layer_{n}"]["bias"])
    return x

  def apply(self, frozen, params, x):
    return self.features(params, x) @ params["head"]["kernel"] + params["head"]["bias"]

  def base(self, frozen, name, support, ways):
    if name != "prototypes":
      return super().base(frozen, name, support, ways)
    member, init = membership(support, ways), frozen["init"]
    means = class_means(member, self.features(init, support.x))
    return {**init, **unit_prototype_head(means, member.any(0))}

  def gradient_at(self, frozen, support, ways):
    return self.base(frozen, "prototypes", support, ways)  # under zeros there is none

  def condition(self, frozen, support, ways):
    member = membership(support, ways)
    return (3 * support.x.reshape(len(support.x), -1), member), member.any(0)


FAMILY = Million(image_shape=(28, 28, 1))


def get_suite(config):
  """The same classes in all splits, other drawings: 70, 10 and 20 of a hundred."""
  if config.data.path:
    raw = read_npz(config.data.path, size=28, grey=True)
    items = from_labels(raw.images, raw.labels)
  else:
    items = glyphs(jax.random.key(0), classes=CLASSES, per_class=400)
  rng = np.random.default_rng(0)
  places = [[], [], []]
  for c in range(CLASSES):
    own = rng.permutation(items.index[c, : items.count[c]])
    for chosen, part in zip(
      places, np.split(own, len(own) * np.array([7, 8]) // 10), strict=True
    ):
      chosen.append(part)
  labels = [np.repeat(np.arange(CLASSES), [len(own) for own in part]) for part in places]
  train, val, test = (
    from_labels(items.x[np.concatenate(part)], y)
    for part, y in zip(places, labels, strict=True)
  )
  return Suite(train, val, {"distortions-unseen": test}, CLASSES)


def get_config():
  config = own_config()
  config.generators = ("generated", "generated_finished")
  config.preparation.update(tasks=208, steps=40, rate=3e-3, epsilon=0.01, shard_tasks=16)
  config.bank_bytes = 2**30
  config.score.update(width=64, layers=1, gradient=True, summary=0)
  config.meta.update(ways=(CLASSES,), shots=(5,), steps=300, tasks=4, draws=2)
  config.meta.update(validation_tasks=50, validate_every=100)
  config.finishing.update(steps=500, tasks=4, queries=10, rate=1e-3, validate_every=100)
  config.evaluation.update(tasks=200, queries=20, tuning_tasks=30, trials=6)
  config.evaluation.update(temperatures=(0.0,), descent_steps=(1, 5, 20, 50))
  return config
