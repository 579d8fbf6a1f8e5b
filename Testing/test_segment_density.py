"""The density-guided module: its formulas one by one, and the fusion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from NASAM3DLib.segment.density import (
    BRIDGE_GAIN,
    HOMOGENEOUS_SIGMA_HU,
    MAX_SIGMA_HU,
    MIN_SIGMA_HU,
    PATH_FLOOR,
    DensityModel,
    bridge_penalised,
    density_attention,
    density_model,
    fuse,
    path_cost,
    smoothed,
)

CENTRE = (5, 5, 5)


def noise(sigma_hu: float, mean_hu: float = 40.0) -> np.ndarray:
    return np.random.default_rng(0).normal(mean_hu, sigma_hu, (11, 11, 11)).astype(np.float32)


def test_a_model_takes_median_and_spread_from_around_the_click():
    model = density_model(noise(25.0), CENTRE)
    # Standard error of a median of 27 voxels: 1.25 * 25 / sqrt(27) = 6 HU; of the spread 10 %.
    assert model.median_hu == pytest.approx(40.0, abs=15.0)
    assert model.sigma_hu == pytest.approx(25.0, rel=0.3)


@pytest.mark.parametrize(("noise_hu", "expected"), [(0.0, MIN_SIGMA_HU), (300.0, MAX_SIGMA_HU)])
def test_the_spread_of_a_model_has_limits(noise_hu, expected):
    assert density_model(noise(noise_hu), CENTRE).sigma_hu == expected


@pytest.mark.parametrize(
    ("lesion_voxels", "noise_hu", "expected"),
    [(11, 3.0, HOMOGENEOUS_SIGMA_HU), (5, 3.0, MIN_SIGMA_HU), (11, 35.0, 35.0)],
)
def test_smooth_homogeneous_surroundings_widen_a_model_on_request(
    lesion_voxels, noise_hu, expected
):
    volume = noise(noise_hu, mean_hu=-80.0)
    inside = slice(CENTRE[0] - lesion_voxels // 2, CENTRE[0] + lesion_voxels // 2 + 1)
    volume[inside, inside, inside] += 120.0
    asked = density_model(volume, CENTRE, widen_homogeneous=True)
    assert asked.sigma_hu == pytest.approx(expected, rel=0.25)
    assert asked.median_hu == density_model(volume, CENTRE).median_hu
    if noise_hu < MIN_SIGMA_HU:
        assert density_model(volume, CENTRE).sigma_hu == MIN_SIGMA_HU


def test_a_model_at_the_border_uses_the_voxels_there_are():
    volume = np.full((6, 6, 6), -1000.0, dtype=np.float32)
    volume[:3, :3, :3] = 50.0
    assert density_model(volume, (0, 0, 0)).median_hu == 50.0


def test_adding_a_constant_shifts_the_median_and_nothing_else():
    volume = noise(20.0)
    one, two = density_model(volume, CENTRE), density_model(volume + 25, CENTRE)
    assert two.median_hu == pytest.approx(one.median_hu + 25, abs=1e-3)
    assert two.sigma_hu == pytest.approx(one.sigma_hu, abs=1e-3)
    np.testing.assert_allclose(
        one.likelihood(smoothed(volume)), two.likelihood(smoothed(volume + 25)), atol=1e-4
    )


def test_likelihood_is_a_gaussian_of_the_difference():
    values = np.array([[[40.0, 60.0, 80.0]]], dtype=np.float32)
    got = DensityModel(40.0, 20.0).likelihood(values)
    np.testing.assert_allclose(got[0, 0], [1.0, np.exp(-0.5), np.exp(-2.0)], rtol=1e-6)


@pytest.mark.parametrize(("median", "accepted", "refused"), [(400, 900, 100), (-800, -990, -500)])
def test_bone_accepts_the_denser_and_gas_the_thinner(median, accepted, refused):
    values = np.array([[[accepted, refused]]], dtype=np.float32)
    got = DensityModel(median, 80.0).likelihood(values)[0, 0]
    assert got[0] == 1.0
    assert got[1] < 1e-2


def test_uncertainty_adds_its_variance_at_the_click_and_at_the_voxel():
    uncertainty = np.full((11, 11, 11), 9.0, dtype=np.float32)
    uncertainty[0, 0, 0] = 100.0
    volume = np.full((11, 11, 11), 40.0, dtype=np.float32)
    model = density_model(volume, CENTRE, uncertainty_hu=uncertainty)
    assert model.sigma_hu == pytest.approx(np.hypot(MIN_SIGMA_HU, 9.0))
    got = model.likelihood(volume + 30, uncertainty_hu=uncertainty)
    for voxel, spread in ((CENTRE, 9.0), ((0, 0, 0), 100.0)):
        variance = MIN_SIGMA_HU**2 + 9.0**2 + spread**2
        assert got[voxel] == pytest.approx(np.exp(-0.5 * 30**2 / variance), rel=1e-5)


def test_a_bridge_loses_likelihood_and_the_inside_does_not():
    likelihood = np.zeros((24, 24, 48), dtype=np.float32)
    likelihood[4:20, 4:20, 4:20] = 1
    likelihood[4:20, 4:20, 28:44] = 1
    likelihood[12, 12, 20:28] = 1
    got = bridge_penalised(likelihood, sigma_voxels=1.2)
    assert got[12, 12, 12] == 1.0
    assert got[12, 12, 24] < 0.25
    assert (got <= likelihood).all()
    assert got.max() <= BRIDGE_GAIN


def test_a_path_costs_from_the_floor_to_one_more_per_reference_length():
    cost = path_cost(np.array([[[1.0, 0.0]]], dtype=np.float32), reference_mm=3.0)
    np.testing.assert_allclose(cost[0, 0], [PATH_FLOOR / 3, (1 + PATH_FLOOR) / 3], rtol=1e-6)


def test_attention_is_one_half_where_the_budget_is_spent():
    assert density_attention(np.ones((1, 1, 1), np.float32))[0, 0, 0] == pytest.approx(0.5)


@given(
    near=st.floats(0, 4, width=32), far=st.floats(0, 4, width=32), rival=st.floats(0, 4, width=32)
)
def test_attention_lies_in_the_open_interval_and_falls_with_distance(near, far, rival):
    near, far = min(near, far), max(near, far)
    positive = np.array([[[near, far]]], dtype=np.float32)
    negative = np.full_like(positive, rival)
    got = density_attention(positive, negative)[0, 0]
    assert 0 < got[1] <= got[0] < 1
    # A negative click never adds attention.
    assert (got <= density_attention(positive)[0, 0]).all()


def test_the_nearer_click_wins():
    positive = np.full((1, 1, 2), 0.2, dtype=np.float32)
    negative = np.array([[[0.0, 2.0]]], dtype=np.float32)
    got = density_attention(positive, negative)[0, 0]
    assert got[0] < 0.5 < got[1]


def test_strength_zero_gives_the_logits_back_exactly():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (4, 5, 6)).astype(np.float32)
    attention = rng.uniform(0.01, 0.99, logits.shape).astype(np.float32)
    assert fuse(logits, attention, 0.0).tobytes() == logits.tobytes()


def test_fusion_adds_the_logit_of_the_attention():
    logits, attention = np.float32([[-1.0, 0.5]]), np.float32([[0.2, 0.9]])
    np.testing.assert_allclose(
        fuse(logits, attention, 1.5), logits + 1.5 * logit(attention), rtol=1e-6
    )


def test_without_logits_the_attention_is_the_expectation():
    attention = np.float32([[0.1, 0.5, 0.8]])
    np.testing.assert_allclose(expit(fuse(np.zeros_like(attention), attention, 1.0)), attention)


@pytest.mark.parametrize(
    ("shape", "value", "strength", "message"),
    [
        ((2, 3), 0.5, 1.0, "must have one shape, got \\(2, 2\\) and \\(2, 3\\)"),
        ((2, 2), 0.5, -1.0, "must be 0 or more, got -1.0"),
        ((2, 2), 0.5, np.nan, "must be 0 or more, got nan"),
        ((2, 2), 1.0, 1.0, "strictly between 0 and 1"),
    ],
)
def test_fusion_refuses_what_it_cannot_add(shape, value, strength, message):
    attention = np.full(shape, value, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        fuse(np.zeros((2, 2), np.float32), attention, strength)
