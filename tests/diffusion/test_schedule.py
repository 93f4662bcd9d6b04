import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcdi_jax.diffusion import (
  DiffusionConfig,
  Schedule,
  chain,
  make_schedule,
  make_segments,
)
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.spacing import evenly_spaced

FORMS_OF_CHAIN = [(20, 1), (20, 3), (7, 3), (5, 5), (21, 2)]


@pytest.mark.parametrize(
  ("steps", "segments", "expected"),
  [
    (20, 3, (7, 13, 20)),
    (7, 3, (2, 5, 7)),
    (5, 2, (3, 5)),  # 2.5 goes up
    (4, 4, (1, 2, 3, 4)),
    (60, 3, (20, 40, 60)),
    (9, 1, (9,)),
  ],
)
def test_boundaries_are_i_T_over_k_rounded_half_up(steps, segments, expected):
  assert make_segments(steps, segments).boundaries == expected


def test_boundaries_follow_the_formula_and_rise_for_every_T_and_k():
  for steps in range(1, 41):
    for segments in range(1, steps + 1):
      found = evenly_spaced(steps, segments)
      # exact in float64: i·T/k + ½ is never within rounding below an integer here, since
      # its fractional part is a multiple of 1/2k
      formula = [
        np.floor(np.round(i * steps / segments + 0.5, 9)) for i in range(1, segments + 1)
      ]
      assert list(found) == formula
      assert found[-1] == steps and all(np.diff((0, *found)) > 0)


@pytest.mark.parametrize(("steps", "segments"), FORMS_OF_CHAIN)
def test_coefficients_are_products_of_alpha(steps, segments, by_hand):
  """ᾱ^i_t = ∏_{j=t}^{b_i−1} α_j, empty products 1, in both precisions."""
  alpha = np.random.default_rng(steps).uniform(0.05, 0.999, steps)
  hand = by_hand(alpha, segments)
  expected = hand.alpha_bar[:, :-1]
  with jax.enable_x64(True):
    exact = chain(Schedule(jnp.asarray(alpha)), make_segments(steps, segments))
    assert exact.signal.dtype == jnp.float64
    # rounding of float64, over T factors and through a logarithm
    np.testing.assert_allclose(exact.signal, np.sqrt(expected), rtol=1e-12)
    np.testing.assert_allclose(exact.noise**2, 1 - expected, atol=1e-13)
  single = chain(Schedule(jnp.float32(alpha)), make_segments(steps, segments))
  # float32: relative in 1−ᾱ as well, where it is small; α itself carries 6e-8, which
  # is 6e-5 of the smallest 1−α = 1e-3
  np.testing.assert_allclose(single.signal, np.sqrt(expected), rtol=1e-5)
  np.testing.assert_allclose(single.noise, np.sqrt(1 - expected), rtol=1e-4)
  np.testing.assert_array_equal(single.segment, hand.segment)
  np.testing.assert_array_equal(single.stop, hand.boundaries)
  np.testing.assert_array_equal(single.start, [0, *hand.boundaries[:-1]])


def test_own_coefficients_are_those_of_the_segment_that_holds_t(by_hand):
  alpha = np.linspace(0.3, 0.95, 7)
  hand = by_hand(alpha, 3)
  own = chain(Schedule(jnp.float32(alpha)), make_segments(7, 3)).own()
  # float32 rounding
  np.testing.assert_allclose(own.signal, np.sqrt(hand.own), rtol=1e-5)
  np.testing.assert_allclose(own.noise, np.sqrt(1 - hand.own), rtol=1e-5)
  last = np.sqrt(1 - hand.alpha_bar[-1, :-1])
  np.testing.assert_allclose(own.global_noise, last, rtol=1e-5)


def test_handover_shift_is_that_of_the_segment_entered(by_hand):
  alpha = np.linspace(0.25, 0.98, 20)
  hand = by_hand(alpha, 3)
  entered = [hand.alpha_bar[1, 7], hand.alpha_bar[2, 13]]
  expected = [0.0, *(np.sqrt(a / (1 - a)) for a in entered)]
  found = chain(Schedule(jnp.float32(alpha)), make_segments(20, 3)).handover_shift()
  np.testing.assert_allclose(found, expected, rtol=1e-5)  # float32 rounding


def test_default_schedule_has_the_figures_of_the_method(by_hand):
  """`method.md` 3.12: 7e-4 at the start, 0.05 and 0.35 at the starts of later segments."""
  alpha = np.float64(make_schedule(DiffusionConfig()).alpha)
  np.testing.assert_allclose(alpha, 1 - np.linspace(0.75, 0.02, 20), rtol=1e-6)
  hand = by_hand(alpha, 3)
  starts = [hand.alpha_bar[0, 0], hand.alpha_bar[1, 7], hand.alpha_bar[2, 13]]
  # the method gives one or two digits
  np.testing.assert_allclose(starts, [7e-4, 0.05, 0.35], rtol=0.1)


def test_cosine_schedule_follows_its_formula():
  steps = 50
  alpha = make_schedule(DiffusionConfig(steps=steps, schedule="cosine")).alpha
  g = [np.cos(((1 - j / steps) + 0.008) / 1.008 * np.pi / 2) ** 2 for j in range(steps + 1)]
  ratio = [g[j] / g[j + 1] for j in range(steps)]
  np.testing.assert_allclose(alpha, np.clip(ratio, 1e-3, 1 - 1e-4), rtol=1e-6)


@pytest.mark.parametrize(("steps", "segments"), [(6, 3), (4, 4), (10, 1), (20, 3)])
def test_automatic_start_is_the_smallest(steps, segments):
  config = DiffusionConfig(steps=steps, segments=segments, schedule="linear_auto")
  alpha = np.float64(make_schedule(config).alpha)
  first = make_segments(steps, segments).boundaries[0]
  start = 1 - alpha[0]
  np.testing.assert_allclose(alpha, 1 - np.linspace(start, config.end, steps), atol=1e-6)
  at = lambda s: np.prod(1 - np.linspace(s, config.end, steps)[:first])  # noqa: E731
  # ᾱ^1_0 falls as start rises: below the limit just above it, over it just below
  assert at(start + 1e-6) <= 0.01 < at(start - 1e-6)


def test_a_chain_that_starts_from_unseen_noise_names_schedule_and_steps():
  with pytest.raises(InputError, match=r"(?s)schedule 'linear'.*T = 6.*ᾱ\^1_0"):
    make_schedule(DiffusionConfig(steps=6, segments=3))


@pytest.mark.parametrize(
  "settings", [{"start": 1.0}, {"start": 1.2}, {"end": 0.0}, {"end": -0.1}]
)
def test_alpha_outside_the_open_interval_is_refused(settings):
  with pytest.raises(InputError, match=r"start .* end .* outside \(0, 1\)"):
    make_schedule(DiffusionConfig(**settings))


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({"steps": 2, "segments": 3}, "config.diffusion.segments is 3.*T = 2"),
    ({"segments": 0}, "config.diffusion.segments"),
    ({"steps": 0, "segments": 0}, "config.diffusion.steps"),
    ({"handover": 1.5}, "config.diffusion.handover"),
    ({"handover": 0.5, "objective": "published"}, "config.diffusion.handover"),
    ({"ancestral": True, "objective": "published"}, "config.diffusion.ancestral"),
    ({"ancestral": True, "sampler": "published"}, "config.diffusion.ancestral"),
  ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, named):
  with pytest.raises(InputError, match=named):
    DiffusionConfig(**settings)


def test_the_sampler_is_the_objectives_unless_named():
  assert DiffusionConfig(objective="published").sampler_name == "published"
  assert DiffusionConfig().sampler_name == "windowed"
  assert DiffusionConfig(sampler="published").sampler_name == "published"


def test_a_chain_passes_through_jit_with_static_segments():
  config = DiffusionConfig()
  schedule, segments = make_schedule(config), make_segments(20, 3)
  jitted = jax.jit(chain)
  jax.tree.map(
    # fused arithmetic may differ in the last digit of float32
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    jitted(schedule, segments),
    chain(schedule, segments),
  )
  assert jax.tree.leaves(segments) == []
