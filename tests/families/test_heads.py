"""The family of heads, and what a family is: hashable, JSON, read back by name."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import IMAGE, make_generator, make_source, make_support

from mcdi_jax.families import Heads, TaskFamily, family_from_json, family_to_json
from mcdi_jax.lib.errors import InputError
from mcdi_jax.tasks import Form, Protocol, Query, sample_task

FAMILY = Heads(ways=(2, 3), shots=(1, 2), image_shape=IMAGE, width=4)
KNOWN = {"heads": Heads}


def test_equal_families_are_one_to_a_compilation():
  """And unequal ones are not."""
  same = Heads(ways=(2, 3), shots=(1, 2), image_shape=IMAGE, width=4)
  traced = []

  @jax.jit(static_argnums=0)
  def largest(family: TaskFamily) -> Any:
    traced.append(family)
    return jnp.asarray(family.largest)

  for family in (FAMILY, same, dataclasses.replace(same, shots=(1, 3))):
    largest(family)
  assert len(traced) == 2
  np.testing.assert_array_equal(largest(same), [3, 2])


def test_a_family_is_read_back_from_json():
  content = json.loads(json.dumps(family_to_json(FAMILY)))
  found = family_from_json(KNOWN, content, "spec.family")
  assert found == FAMILY and hash(found) == hash(FAMILY)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"name": "fields"}, r"spec\.family is 'fields': it must be one of \['heads'\]"),
    ({"name": None}, r"spec\.family is None"),
    ({"depth": 3}, r"spec\.family\.depth is not a setting"),
    ({"ways": 5}, r"spec\.family\.ways is 5: it must be a tuple"),
  ],
)
def test_what_is_no_family_is_refused_in_one_sentence(changes: Any, said: str):
  content = family_to_json(FAMILY) | changes
  with pytest.raises(InputError, match=said):
    family_from_json(KNOWN, content, "spec.family")


def test_sampling_is_that_of_the_tasks_room():
  """A task that the family draws has the items that `sample_task` gives with its key."""
  items, key = make_source().items, jax.random.key(3)
  protocol, form = Protocol(3, 2, 2), Form(2, 1)
  found = FAMILY.sample(key, items, protocol, form=form)
  jax.tree.map(
    np.testing.assert_array_equal, found, sample_task(key, items, protocol, form=form)
  )


@pytest.mark.parametrize("mask", [None, np.array([True, True, False, True])])
def test_quality_is_the_share_of_queries_that_count(mask: Any):
  output = jnp.float32([[2, 1], [0, 3], [5, 0], [1, 0]])
  y = jnp.array([0, 0, 0, 0])
  expected = 0.75 if mask is None else 2 / 3
  found = FAMILY.quality(output, Query(None, y, mask))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert FAMILY.metric.scale * 1.0 == 100


def test_the_full_tree_and_the_bound_network_are_of_the_family():
  generator, support = make_generator(), make_support()
  family = generator.spec.family
  params = family.init(generator.frozen, jax.random.key(0), jnp.zeros((1, 4)), 3, scale=0.5)
  features = family.embed(generator.frozen, support.x)
  expected = family.apply(generator.frozen, params, features)
  found = generator.network.apply(params, support.x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  assert generator.merge(params).keys() == {"backbone", "head"}


def test_tasks_of_fewer_ways_are_filled_up():
  tasks = np.int32([[4, 1], [0, 2]])
  np.testing.assert_array_equal(FAMILY.padded_task(tasks), [[4, 1, 0], [0, 2, 0]])
