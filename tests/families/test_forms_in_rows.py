"""What all few-shot tasks share: forms of several sizes in arrays of one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.data import from_labels
from mcdi_jax.families import Features
from mcdi_jax.tasks import Form, Protocol

FAMILY = Features(width=3, ways=(2, 6), shots=(1, 5), most_items=12)
ITEMS = jax.tree.map(
  jnp.asarray,
  from_labels(np.arange(144, dtype=np.float32).reshape(48, 3), np.arange(48) % 6),
)
KEY = jax.random.key(0)


@pytest.mark.parametrize("form", [Form(2, 1), Form(6, 1), Form(2, 5)])
def test_a_support_is_packed_into_as_many_rows_as_any_form_needs(form: Form):
  """30 rows would hold six classes of five; no form has both. What counts is the same, in
  its order, and queries are, too."""
  loose = dataclasses.replace(FAMILY, most_items=0)
  call = (KEY, ITEMS, Protocol(6, 5, 2))
  whole, packed = (family.sample(*call, form=form) for family in (loose, FAMILY))
  assert whole.support.y.shape == (30,) and packed.support.y.shape == (12,)
  counted = [
    jax.tree.map(lambda a, t=t: a[t.support.mask], t.support) for t in (whole, packed)
  ]
  assert len(counted[0].y) == form.ways * form.shots
  for a, b in zip(*map(jax.tree.leaves, counted), strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(whole.query.x, packed.query.x)
  task = jnp.arange(6)
  again = FAMILY.support(KEY, ITEMS, task, 5, form=form)
  assert again.y.shape == (12,) and int(again.mask.sum()) == form.ways * form.shots


def test_a_support_of_one_form_is_never_packed():
  assert FAMILY.sample(KEY, ITEMS, Protocol(6, 5, 2)).support.y.shape == (30,)
