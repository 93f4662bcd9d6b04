"""Descent of all of an encoder's weights, from the encoder as it is."""

import jax
import jax.numpy as jnp
import numpy as np

from mcdi_jax.families import Adapters
from mcdi_jax.methods import Known, whole_descent
from mcdi_jax.tasks import Support

FAMILY = Adapters(
  image_shape=(16, 16, 3), network="conv4", widths=(4,), ways=(2,), shots=(3,)
)


def test_it_starts_from_the_encoder_and_fits_the_support_better():
  key = jax.random.key(0)
  frozen = FAMILY.init_frozen(key)
  support = Support(jax.random.uniform(key, (6, 16, 16, 3)), jnp.arange(6) % 2)
  plain = FAMILY.settled(frozen, FAMILY.init(frozen, key, support.x, 2), support)

  def after(rate: float) -> tuple[np.ndarray, float]:
    settings = {"rate": rate, "epsilon": 1e-6}
    method = whole_descent(3).make(settings, Known(FAMILY, frozen))
    adapted = jax.jit(method.adapt, static_argnums=3)(method.variables, support, key, 2)
    output = method.predict(method.variables, adapted, support.x)
    assert jax.tree.structure(adapted["weights"]) == jax.tree.structure(
      frozen["network"]["weights"]
    )
    return np.asarray(output), float(FAMILY.loss(output, support.y).mean())

  same, before = after(0.0)
  expected = FAMILY.apply(frozen, plain, support.x)
  np.testing.assert_allclose(same, expected, rtol=1e-4, atol=1e-5)
  assert after(1e-3)[1] < before
