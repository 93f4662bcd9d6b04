"""A family of one's own: what it need not say, and what it is told where it is wrong."""

import dataclasses
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moons, sines, springs
from mcdi_jax.families import TaskFamily
from mcdi_jax.families.checks import check_cuts, check_family, check_layers
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Protocol, Query, Support, Task
from mcdi_jax.weights import Cut, Layer, weight_space

PROTOCOL = Protocol(1, 6, 4)
KEY = jax.random.key(0)


def _sets(module: Any) -> dict[str, Any]:
  suite = module.get_suite()
  return jax.tree.map(jnp.asarray, {"train": suite.train, "val": suite.val, **suite.tests})


@pytest.mark.parametrize("module", [sines, moons, springs])
def test_the_examples_keep_to_the_rules(module: Any):
  """And their weights become tokens and come back."""
  family = module.FAMILY
  check_family(family, _sets(module), PROTOCOL)
  params = family.init_frozen(KEY)["init"]
  space = weight_space(params, family.cuts)
  found = space.decode(space.encode(params))
  assert jax.tree.structure(found) == jax.tree.structure(params)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_support_is_what_the_examples_begin_with():
  family, items = sines.FAMILY, _sets(sines)["val"]
  support = family.support(KEY, items, jnp.int32(3), 6)
  np.testing.assert_array_equal(
    support.x, family.examples(KEY, items, jnp.int32(3), Protocol(1, 6, 1)).support.x
  )


@pytest.mark.parametrize(("on", "number"), [("support", 6), ("all", 10)])
def test_preparation_descends_on_the_support_or_on_the_queries_too(on: Any, number: int):
  family, items = sines.FAMILY, _sets(sines)["val"]
  settings = {"shots": 6, "queries": 4}
  x, y, weight = family.preparation_items(KEY, items, jnp.int32(3), on, **settings)
  amplitude, phase = items[3]
  assert x.shape == (number, 1) and weight.shape == (number,)
  np.testing.assert_allclose(y, amplitude * np.sin(x[:, 0] + phase), rtol=1e-4)


def test_the_condition_is_a_token_an_item():
  """x and y side by side; no class."""
  support = Support(jnp.arange(6.0).reshape(3, 2), jnp.arange(3.0), jnp.arange(3) < 2)
  (x, member, mask), present = sines.FAMILY.condition({}, support, 1)
  np.testing.assert_array_equal(x, [[0, 1, 0], [2, 3, 1], [4, 5, 2]])
  assert member.shape == (3, 0) and present.shape == (0,)
  np.testing.assert_array_equal(mask, support.mask)


def test_quality_is_minus_the_mean_loss():
  query = Query(jnp.zeros((2, 1)), jnp.array([1.0, 3.0]))
  assert float(sines.FAMILY.quality(jnp.array([2.0, 0.0]), query)) == -5.0


class _Array:
  """Held by functions below, as nobody should."""

  x = jnp.ones(100)


WRONG = {
  "a task of floats": (
    {"draw_task": lambda self, key, items, ways: jax.random.uniform(key)},
    r"draw_task gives float32: a task is of integers",
  ),
  "a loss that is reduced": (
    {"loss": lambda self, output, y: jnp.mean((output - y) ** 2)},
    r"loss gives shape \(\) for 4 items: give one number an item",
  ),
  "a loss of several numbers an item": (
    {"loss": lambda self, output, y: jnp.ones((len(y), 2))},
    r"loss gives shape \(4, 2\)",
  ),
  "examples without a form": (
    {"examples": lambda self, key, items, task, protocol: None},
    r"examples cannot be called as training does .*form.* take \(self, key, items, task",
  ),
  "no θ_0": (
    {"init_frozen": lambda self, key: {"mine": jnp.ones(2)}},
    r"init_frozen gives no θ_0: let it return \{\*\*super",
  ),
  "no fresh params": ({"fresh": TaskFamily.fresh}, r"has no `fresh`: say how"),
  "a condition that is one array": (
    {"condition": lambda self, frozen, support, ways: support.x},
    r"condition gives .*: give what the score network's `encode` takes",
  ),
  "an array in a closure": (
    {"apply": lambda self, frozen, params, x: x[:, 0] * _Array.x.sum()},
    r"holds an array of shape \(100,\): give it as part of the items or of init_frozen",
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_family_is_told_in_one_sentence(case: str):
  changes, said = WRONG[case]
  family = type("Mine", (sines.Sines,), changes)()
  with pytest.raises(InputError, match=f"^Mine.{said}|^Mine {said}") as raised:
    check_family(family, _sets(sines), PROTOCOL)
  assert "\n" not in str(raised.value)


def test_a_condition_must_have_one_shape():
  class Mine(sines.Sines):
    def examples(self, key: Any, items: Any, task: Any, protocol: Any, *, form: Any = None):
      shots = protocol.shots + (len(items) > 1000)
      given, asked = super().examples(key, items, task, protocol._replace(shots=shots))
      return Task(given, asked)

  with pytest.raises(InputError, match=r"condition has another shape from set to set"):
    check_family(Mine(), _sets(sines), PROTOCOL)


def test_a_family_that_lacks_something_is_told_what():
  class Mine(TaskFamily):
    name = "mine"
    item_shape = (1,)

  with pytest.raises(
    TypeError, match=r"abstract methods .?apply.?, .?draw_task.?, .?examples.?, .?loss"
  ):
    Mine()


def test_an_array_is_no_field():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Mine(sines.Sines):
    table: Any = None

  with pytest.raises(InputError, match=r"Mine cannot be hashed"):
    check_family(Mine(table=np.ones(3)), _sets(sines), PROTOCOL)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({}, r"Mine names layers: say what each is given, as layer_inputs"),
    ({"layer_inputs": lambda *_: ()}, r"layer_inputs gives shapes \[\]: .* of \[40\]"),
    (
      {"layer_inputs": lambda self, frozen, support: (support.x[:, None],)},
      r"layer_inputs gives shapes \[\(5, 1, 1\)\]: .* of \[40\] inputs",
    ),
    ({"layers": (Layer("layer_9/kernel"),)}, r"layer_9/kernel.* has no leaf"),
  ],
)
def test_layers_that_are_not_described_are_told(changes: dict[str, Any], said: str):
  layers = (Layer("layer_1/kernel", "layer_1/bias"),)
  family = type("Mine", (sines.Sines,), {"layers": layers, **changes})(shots=(5,))
  with pytest.raises(InputError, match=said) as raised:
    check_layers(family, jax.eval_shape(family.fresh, KEY))
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
  ("cuts", "said"),
  [
    ({"layer_9/*": Cut("chunks", size=8)}, r"'layer_9/\*' fits no leaf"),
    ({"*": Cut("rows", 3)}, r"it has no axis 3"),
    ({}, r"no pattern of Mine.cuts, \[\], fits the leaves \['layer_0/bias', "),
    (
      {"layer_1/*": Cut("chunks", size=8)},
      r"fits the leaves \['layer_0/bias', 'layer_0/kernel', 'layer_2/bias', 'layer_2/kern",
    ),
  ],
)
def test_cuts_that_are_not_of_all_leaves_are_told_before_any_work(cuts: Any, said: str):
  family = type("Mine", (sines.Sines,), {"cuts": cuts})()
  with pytest.raises(InputError, match=said):
    check_cuts(family, jax.eval_shape(family.fresh, KEY))


def test_the_examples_are_short():
  """Of code: a page is not one."""
  for module in (sines, moons, springs):
    path = importlib.import_module(module.__name__).__file__ or ""
    with open(path) as f:
      lines = [line for line in f if line.strip()]
    assert len(lines) <= 62, module.__name__
