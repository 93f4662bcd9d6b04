"""The order of tasks changes nothing but the time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.lib.over_tasks import over_tasks


@pytest.mark.parametrize("most", [0, 2, 3, 7, 100])
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_it_is_a_loop(
  most: int, one_by_one: bool, platform: str, monkeypatch: pytest.MonkeyPatch
):
  """Of pytrees, with nothing in some leaves; on an accelerator many at once."""
  monkeypatch.setattr("mcdi_jax.lib.over_tasks.platform_used", lambda: platform)
  a, b = jnp.arange(7.0), {"c": jnp.arange(14.0).reshape(7, 2), "n": jnp.zeros((7, 0))}
  fn = lambda a, b: (a + b["c"].sum(), {"d": a * b["c"], "n": b["n"]})  # noqa: E731
  many = jax.jit(lambda a, b: over_tasks(fn, a, b, most=most, one_by_one=one_by_one))
  total, each = many(a, b)
  np.testing.assert_allclose(total, [1.0 + 5 * n for n in range(7)])
  np.testing.assert_allclose(each["d"], a[:, None] * b["c"])
  assert each["n"].shape == (7, 0)
  text = many.lower(a, b).as_text()
  in_turn = (platform == "cpu" and one_by_one) or 0 < most < 7
  assert ("while" in text) is in_turn
