"""The baselines: what they find, from what, and the spaces that they are tuned over."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcdi_jax.data import from_labels
from mcdi_jax.families import Heads
from mcdi_jax.methods import HEADS, LogUniform, at_edge, draw_settings, prepared
from mcdi_jax.methods.cosine import COSINE
from mcdi_jax.methods.finetune import FINETUNE, FINETUNE_SGD
from mcdi_jax.methods.logistic import LOGISTIC
from mcdi_jax.methods.prototypes import PROTOTYPES
from mcdi_jax.methods.ridge import RIDGE
from mcdi_jax.methods.unlabelled import tunable_about
from mcdi_jax.methods.view import Statistics
from mcdi_jax.methods.whitened import PROTOTYPES_WHITENED
from mcdi_jax.preparation import PreparationConfig, prepare_task, support_key
from mcdi_jax.tasks import Form, Query, Support, sample_support

WAYS, SHOTS, WIDTH = 4, 3, 6
MEAN = jnp.linspace(-1.0, 2.0, WIDTH)
KNOWN = Statistics(none=MEAN, source=jnp.zeros(WIDTH))
VIEWS = [(c, u) for c in ("none", "source", "support") for u in (False, True)]


def _features(seed: int, shots: int, far: float) -> tuple[jax.Array, jax.Array]:
  """Classes around corners, in mixed order."""
  rng = np.random.default_rng(seed)
  y = rng.permutation(np.repeat(np.arange(WAYS), shots))
  x = far * np.eye(WAYS, WIDTH)[y] + rng.normal(size=(len(y), WIDTH))
  return jnp.asarray(x, jnp.float32), jnp.asarray(y)


SUPPORT, QUERY = Support(*_features(0, SHOTS, 10)), Query(*_features(1, 20, 10))
MIXED = Support(*_features(2, SHOTS, 1))  # not separable

DESCENT = {"init_scale": 0.0, "steps": 20, "rate": 0.05, "decay": 0.0}
SETTINGS: dict[str, dict[str, Any]] = {
  "ridge": {"penalty": 0.3},
  "logistic": {"penalty": 0.01},
  "finetune": {**DESCENT, "epsilon": 1e-3},
  "finetune_sgd": DESCENT,
}


def _method(tunable: Any, centre: str = "source", unit: bool = False, **more: Any) -> Any:
  settings = SETTINGS.get(tunable.name, {}) | more
  settings |= {"centre": centre, "unit_length": unit}
  return tunable.make({n: settings[n] for n in tunable.space}, KNOWN)


METHODS = {
  **{tunable.name: _method(tunable) for tunable in HEADS},
  "prepared": prepared(PreparationConfig(steps=6), KNOWN),
}


def _adapt(method: Any, support: Support, ways: int = WAYS) -> Any:
  """The predictor of a task."""
  adapt = jax.jit(method.adapt, static_argnums=3)
  adapted = adapt(method.variables, support, jax.random.key(0), ways)
  return functools.partial(method.predict, method.variables, adapted)


def _seen(support: Support, centre: str, unit: bool, x: Any = None) -> np.ndarray:
  """Features (of the support itself, or x) by the words of the settings, in float64."""
  own = np.float64(support.x)
  shift = {"none": np.float64(MEAN), "source": 0, "support": -own.mean(0)}[centre]
  found = (own if x is None else np.float64(x)) + shift
  return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


def _close(logits: Any, expected: Any, rtol: float = 1e-3) -> None:
  """Up to a number an item, which changes no prediction."""
  difference = np.float64(logits) - expected
  difference -= difference.mean(1, keepdims=True)
  assert abs(difference).max() < rtol * abs(expected).max()


@pytest.mark.parametrize("name", METHODS)
def test_separable_features_are_classified(name: str):
  predict = _adapt(METHODS[name], SUPPORT)
  predicted = predict(QUERY.x).argmax(-1)
  assert (predicted == QUERY.y).mean() > 0.95


@pytest.mark.parametrize(("centre", "unit"), VIEWS)
def test_prototypes_are_nearest_means_of_what_they_see(centre: str, unit: bool):
  predict = _adapt(_method(PROTOTYPES, centre, unit), MIXED)
  x, q = _seen(MIXED, centre, unit), _seen(MIXED, centre, unit, QUERY.x)
  means = np.stack([x[MIXED.y == c].mean(0) for c in range(WAYS)])
  _close(predict(QUERY.x), -0.5 * ((q[:, None] - means) ** 2).sum(-1))


@pytest.mark.parametrize("centre", ["source", "support"])
def test_cosine_prototypes(centre: str):
  predict = _adapt(_method(COSINE, centre), MIXED)
  x, q = _seen(MIXED, centre, True), _seen(MIXED, centre, True, QUERY.x)
  means = np.stack([x[MIXED.y == c].mean(0) for c in range(WAYS)])
  means /= np.linalg.norm(means, axis=1, keepdims=True)
  _close(predict(QUERY.x), q @ means.T)


@pytest.mark.parametrize("shots", [1, SHOTS], ids=["n < D", "n > D"])
@pytest.mark.parametrize(("centre", "unit"), [("none", False), ("support", True)])
def test_ridge_solves_its_normal_equations(shots: int, centre: str, unit: bool):
  """With a free bias: the gradient of Σ‖Wᵀx + b − y‖² + λ‖W‖² vanishes, by a system of
  D + 1 unknowns in float64; λ is in units of the mean square about the items' mean."""
  support = Support(*_features(3, shots, 1))
  predict = _adapt(_method(RIDGE, centre, unit), support)
  x = _seen(support, centre, unit)
  square = ((x - x.mean(0)) ** 2).sum(1).mean()
  x = np.concatenate([x, np.ones((len(x), 1))], 1)
  y = 2 * np.eye(WAYS)[support.y] - 1
  penalty = 0.3 * square * np.diag([1.0] * WIDTH + [0.0])
  weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
  q = _seen(support, centre, unit, QUERY.x)
  expected = q @ weights[:-1] + weights[-1]
  np.testing.assert_allclose(predict(QUERY.x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("penalty", [1e-4, 0.01, 10.0])
@pytest.mark.parametrize("support", [SUPPORT, MIXED], ids=["separable", "mixed"])
def test_logistic_regression_is_at_its_optimum(support: Support, penalty: float):
  """The gradient by hand, in float64; it is near 1 where the descent starts."""
  predict = _adapt(_method(LOGISTIC, "support", True, penalty=penalty), support)
  params = predict.args[1].params["head"]
  kernel, bias = np.float64(params["kernel"]), np.float64(params["bias"])
  x = _seen(support, "support", True)
  logits = x @ kernel + bias
  p = np.exp(logits - logits.max(1, keepdims=True))
  error = (p / p.sum(1, keepdims=True) - np.eye(WAYS)[support.y]) / len(x)
  assert np.linalg.norm(x.T @ error + penalty * kernel) < 1e-4
  assert np.linalg.norm(error.sum(0)) < 1e-4


@pytest.mark.parametrize(("centre", "unit"), [("none", False), ("support", True)])
@pytest.mark.parametrize("tunable", [FINETUNE, FINETUNE_SGD], ids=lambda t: t.name)
def test_fine_tuning_is_a_descent_on_the_whole_support(
  tunable: Any, centre: str, unit: bool
):
  """A loop of optax steps; θ_0 is Gaussian of the given scale."""
  changes = {"init_scale": 0.1, "steps": 3, "decay": 0.1}
  predict = _adapt(_method(tunable, centre, unit, **changes), MIXED)
  kernel = 0.1 * jax.random.normal(jax.random.key(0), (WIDTH, WAYS))
  params = {"kernel": kernel, "bias": jnp.zeros(WAYS)}
  optimiser = {
    "finetune": optax.adamw(0.05, eps=1e-3, weight_decay=0.1),
    "finetune_sgd": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05)),
  }[tunable.name]
  x = jnp.float32(_seen(MIXED, centre, unit))

  def loss(params: Any) -> jax.Array:
    log_p = jax.nn.log_softmax(x @ params["kernel"] + params["bias"])
    return -jnp.mean(log_p[jnp.arange(len(MIXED.y)), MIXED.y])

  state = optimiser.init(params)
  for _ in range(3):
    updates, state = optimiser.update(jax.grad(loss)(params), state, params)
    params = optax.apply_updates(params, updates)
  q = jnp.float32(_seen(MIXED, centre, unit, QUERY.x))
  expected = q @ params["kernel"] + params["bias"]
  np.testing.assert_allclose(predict(QUERY.x), expected, rtol=1e-3, atol=1e-4)


def test_epsilon_is_adams():
  """With a large one AdamW's step is the gradient's, else its sign."""
  slow = _adapt(_method(FINETUNE, steps=1, epsilon=1.0), MIXED)
  fast = _adapt(_method(FINETUNE, steps=1, epsilon=1e-8), MIXED)
  sizes = [abs(p.args[1].params["head"]["kernel"]) for p in (slow, fast)]
  assert sizes[0].max() < 0.9 * 0.05
  np.testing.assert_allclose(sizes[1], 0.05, rtol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"sam_radius": 0.1, "init_scale": 0.2}])
def test_prepared_is_what_the_bank_does_on_the_support(changes: dict[str, Any]):
  """θ_M of `prepare_task` with the same settings and the same support."""
  config = PreparationConfig(steps=5, prepare_on="support", seed=3, **changes)
  items = jax.tree.map(
    jnp.asarray, from_labels(np.asarray(SUPPORT.x), np.asarray(SUPPORT.y))
  )
  key = jax.random.key(4)
  classes, path = prepare_task(
    key,
    items._replace(x=items.x[:, None]),
    None,
    Heads(image_shape=(16, 16, 1)),
    config,
    form=Form(WAYS, 2),
    targets=1,
  )
  method = prepared(PreparationConfig(steps=5, seed=3, **changes), KNOWN)
  predict = _adapt(method, sample_support(support_key(key), items, classes, 2))
  for name, expected in path.weights["head"].items():
    found = predict.args[1].params["head"][name]
    np.testing.assert_allclose(found, expected[-1], rtol=1e-4, atol=1e-5)
  assert method.settings["prepare_on"] == "support"


@pytest.mark.parametrize("name", METHODS)
def test_what_is_masked_counts_nothing_and_absent_classes_are_never_chosen(name: str):
  """Classes of 3, 2, 1 and no items: filled up with masked items, which hold no numbers,
  the classifier is the same; the absent class has logits −∞."""
  keep = np.concatenate([np.flatnonzero(MIXED.y == c)[: 3 - c] for c in range(3)])
  x, y = MIXED.x[keep], MIXED.y[keep]
  method = METHODS[name]
  if "init_scale" in method.settings:
    assert method.settings["init_scale"] == 0  # or θ_0 would depend on the ways
  alone = _adapt(method, Support(x, y), 3)(QUERY.x)
  filler = jnp.full((4, WIDTH), jnp.nan)
  mask = jnp.arange(len(y) + 4) < len(y)
  filled = Support(jnp.concatenate([x, filler]), jnp.pad(y, (0, 4)), mask)
  found = _adapt(method, filled, 4)(QUERY.x)
  np.testing.assert_allclose(found[:, :3], alone, rtol=1e-3, atol=1e-4)
  assert np.isneginf(found[:, 3]).all()


def test_trials_share_their_functions():
  """One compilation for all trials of a method, whatever its settings."""
  for tunable in HEADS:
    trials = [tunable.make(s, KNOWN) for s in draw_settings(tunable.space, 24)]
    assert len({(m.adapt, m.predict) for m in trials}) == 1
    shapes = {
      tuple(
        (leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(m.variables)
      )
      for m in trials
    }
    assert len(shapes) == 1


SPACE = {"rate": LogUniform(1e-2, 1.0), "steps": (5, 10, 20), "kind": ("a", "b")}


def test_random_settings_cover_their_space():
  """Uniform in the logarithm; the same each time, and fewer are the beginning of more."""
  tried = draw_settings(SPACE, 400)
  logs = np.log10([s["rate"] for s in tried])
  assert (logs >= -2).all()
  assert (logs <= 0).all()
  assert abs(np.mean(logs) + 1) < 0.1
  assert abs(np.std(logs) - 2 / np.sqrt(12)) < 0.05
  assert {s["steps"] for s in tried} == {5, 10, 20}
  assert draw_settings(SPACE, 400) == tried
  assert draw_settings(SPACE, 3) == tried[:3]
  assert draw_settings(SPACE, 3, seed=1) != tried[:3]


@pytest.mark.parametrize(("number", "expected"), [(24, 6), (6, 6), (4, 4)])
def test_a_small_space_is_exhausted(number: int, expected: int):
  space = {"steps": (5, 10, 20), "kind": ("a", "b")}
  tried = [tuple(s.values()) for s in draw_settings(space, number)]
  assert len(tried) == len(set(tried)) == expected


@pytest.mark.parametrize(
  ("settings", "edges"),
  [
    ({"rate": 0.1, "steps": 10, "scale": 0.0, "on": True}, []),
    ({"rate": 0.0105, "steps": 10, "scale": 0.1, "on": True}, ["rate"]),
    ({"rate": 0.99, "steps": 20, "scale": 0.2, "on": False}, ["rate", "steps", "scale"]),
    ({"rate": 0.1, "steps": 5, "scale": 0.0, "on": True}, ["steps"]),
  ],
)
def test_edges_are_where_something_may_lie_beyond(settings: Any, edges: list[str]):
  """Neither 0, nor a choice without an order, nor a single value."""
  space = SPACE | {"scale": (0.0, 0.1, 0.2), "on": (False, True), "only": (3.0,)}
  del space["kind"]
  assert at_edge(space, settings | {"only": 3.0}) == edges


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sees_a_support_and_refuses_a_query(name: str):
  """Its signature has no place for a query, and a query is not taken for a support
  (annotations are checked in tests)."""
  method = METHODS[name]
  parameters = inspect.signature(method.adapt).parameters
  assert list(parameters) == ["variables", "support", "key", "ways"]
  assert parameters["support"].annotation is Support
  with pytest.raises(Exception, match="support"):
    method.adapt(method.variables, QUERY, jax.random.key(0), WAYS)


def test_whitened_prototypes_are_nearest_in_the_sources_metric():
  """Mahalanobis, with a floor relative to the mean variance; of features of length 1."""
  rng = np.random.default_rng(3)
  directions = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
  variances = np.linspace(0.1, 2.0, WIDTH)
  within = (jnp.float32(directions), jnp.float32(variances))
  known = KNOWN._replace(within={"none": within, "source": within})
  method = PROTOTYPES_WHITENED.make({"floor": 0.5, "centre": "source"}, known)
  found = _adapt(method, SUPPORT)(QUERY.x)
  unit = lambda x: np.float64(x) / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
  metric = directions @ np.diag(1 / (variances / variances.mean() + 0.5)) @ directions.T
  means = [unit(SUPPORT.x)[SUPPORT.y == c].mean(0) for c in range(WAYS)]
  away = np.stack([unit(QUERY.x) - mean for mean in means], 1)
  expected = -0.5 * np.einsum("ncd,de,nce->nc", away, metric, away)
  about = lambda logits: logits - logits.mean(1, keepdims=True)  # noqa: E731
  np.testing.assert_allclose(about(found), about(expected), rtol=1e-3, atol=1e-4)


def test_a_method_about_an_origin_is_the_method_on_what_is_left():
  """And says that it sees more of the target than others do."""
  origin = jnp.linspace(3.0, -3.0, WIDTH)
  plain = _method(RIDGE, "none")
  settings = plain.settings
  about = tunable_about(RIDGE, origin)
  assert about.space["centre"] == ("none", "support")
  method = about.make(settings, KNOWN)
  assert method.name == "ridge_unlabelled" and method.transductive
  moved = SUPPORT._replace(x=SUPPORT.x + origin)
  found = _adapt(method, moved, WAYS)(QUERY.x + origin)
  expected = _adapt(plain, SUPPORT, WAYS)(QUERY.x)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
