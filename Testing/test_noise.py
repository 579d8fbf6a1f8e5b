"""The noise of projections, judged from the projections: known noise, laws, and no noise."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.scan.noise import noise_variance
from NASAM3DLib.scan.physics import add_noise
from NASAM3DLib.scan.projections import ProjectionSet

GEOMETRY = circular_scan(12, detector=(192, 256), pixel_mm=1.0)
BODIES = [
    Ellipsoid(0.02, (60.0, 50.0, 70.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.02, (8.0, 10.0, 90.0), (10.0, -24.0, 0.0)),
    Ellipsoid(-0.019, (9.0, 7.0, 12.0), (22.0, 12.0, 5.0)),
]
CLEAN = project(BODIES, GEOMETRY)


def estimated(projections: np.ndarray) -> float:
    return noise_variance(ProjectionSet(projections.astype(np.float32), GEOMETRY))


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_even_noise_is_found(sigma: float) -> None:
    noise = np.random.default_rng(3).normal(0, sigma, CLEAN.shape)
    assert estimated(CLEAN + noise) == pytest.approx(sigma**2, rel=0.1)


@pytest.mark.parametrize("photons", [1e4, 1e5])
def test_photon_noise_is_found_in_the_mean_over_pixels(photons: float) -> None:
    noisy = add_noise(CLEAN, photons, rng=np.random.default_rng(4))
    variance = float(np.mean((noisy - CLEAN).astype(np.float64) ** 2))
    assert estimated(noisy) == pytest.approx(variance, rel=0.25)


def test_ten_times_the_photons_have_a_tenth_of_the_variance() -> None:
    few, many = (
        estimated(add_noise(CLEAN, photons, rng=np.random.default_rng(5))) for photons in (1e4, 1e5)
    )
    assert few / many == pytest.approx(10.0, rel=0.1)


def test_edges_of_a_clean_scan_are_hardly_taken_for_noise() -> None:
    # The variance of 1e6 photons in air is 1e-6.
    assert 0 <= estimated(CLEAN) < 1e-8
    noisy = add_noise(CLEAN, 1e5, rng=np.random.default_rng(4))
    assert estimated(CLEAN) < 0.01 * estimated(noisy)


def test_the_estimate_follows_the_scale_and_ignores_planes() -> None:
    noisy = CLEAN + np.random.default_rng(6).normal(0, 0.02, CLEAN.shape)
    once = estimated(noisy)
    assert estimated(3 * noisy) == pytest.approx(9 * once, rel=1e-4)
    rows, columns = np.indices(GEOMETRY.detector_shape)
    assert estimated(noisy + 0.03 * rows - 0.01 * columns + 2) == pytest.approx(once, rel=1e-3)


def test_dead_columns_and_rows_do_not_count() -> None:
    noisy = CLEAN + np.random.default_rng(6).normal(0, 0.02, CLEAN.shape)
    once = estimated(noisy)
    noisy[:, :, 30] = 5.0
    noisy[:, 40, :] = 0.0
    assert estimated(noisy) == pytest.approx(once, rel=0.15)


@pytest.mark.parametrize("detector", [(2, 40), (40, 2), (1, 1)])
def test_narrow_detectors_say_nothing(detector: tuple[int, int]) -> None:
    geometry = circular_scan(3, detector=detector)
    noise = np.random.default_rng(0).normal(1, 0.1, geometry.projections_shape)
    assert noise_variance(ProjectionSet(noise, geometry)) == 0.0


@pytest.mark.parametrize("detector", [(3, 400), (400, 3), (7, 60)])
def test_a_few_rows_or_columns_are_enough(detector: tuple[int, int]) -> None:
    geometry = circular_scan(60, detector=detector)
    noise = np.random.default_rng(0).normal(1, 0.1, geometry.projections_shape)
    assert noise_variance(ProjectionSet(noise, geometry)) == pytest.approx(0.01, rel=0.1)


def test_noise_behind_a_small_body_is_not_drowned_by_air() -> None:
    # Two thirds of the pixels see air, whose noise is hundreds of times less.
    geometry = circular_scan(12, detector=(160, 240), pixel_mm=2.0)
    thick = Ellipsoid(0.06, (60.0, 50.0, 70.0), (0.0, 0.0, 0.0))
    clean = project([thick], geometry)
    noisy = add_noise(clean, 1e5, rng=np.random.default_rng(7))
    assert np.median(clean) == 0
    variance = float(np.mean((noisy - clean).astype(np.float64) ** 2))
    assert noise_variance(ProjectionSet(noisy, geometry)) == pytest.approx(variance, rel=0.25)


def test_many_views_say_the_same_as_all_of_them() -> None:
    geometry = circular_scan(300, detector=(40, 40))
    noise = np.random.default_rng(0).normal(1, 0.1, geometry.projections_shape)
    assert noise_variance(ProjectionSet(noise, geometry)) == pytest.approx(0.01, rel=0.05)
