"""Pixels that do not measure are found and repaired, anatomy is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project, shepp_logan

from NASAM3DLib.scan.defects import find_defects, repaired
from NASAM3DLib.scan.projections import ProjectionSet

SCAN = circular_scan(24, detector=(60, 80), pixel_mm=4.0)
HEAD = project(
    [
        Ellipsoid(e.value * 0.02, e.semi_axes_mm, e.centre_ras, e.turn_rad)
        for e in shepp_logan(90.0)
    ],
    SCAN,
)


def with_noise(photons: float | None) -> np.ndarray:
    """The head's projections, as counted."""
    if photons is None:
        return HEAD.copy()
    counts = np.random.default_rng(0).poisson(photons * np.exp(-HEAD))
    return -np.log(np.maximum(counts, 0.5) / photons).astype(np.float32)


@pytest.mark.parametrize("photons", [None, 1e5, 1e3])
def test_a_clean_scan_has_no_defects(photons):
    found = find_defects(ProjectionSet(with_noise(photons), SCAN))
    assert not found.mask.any()
    assert found.rows == found.columns == ()


@pytest.mark.parametrize("radius_mm", [1.0, 2.0, 4.0, 8.0])
def test_a_metal_ball_on_the_axis_is_no_defect(radius_mm):
    marker = Ellipsoid(0.5, (radius_mm,) * 3, (0.0, 0.0, 0.0))
    scan = ProjectionSet(HEAD + project([marker], SCAN), SCAN)
    assert not find_defects(scan).mask.any()


@pytest.mark.parametrize("photons", [None, 1e5])
@pytest.mark.parametrize("value", [0.0, 3.0, 11.0])
def test_dead_rows_and_columns_are_found_as_such(photons, value):
    broken = with_noise(photons)
    broken[:, 20] = value
    broken[:, :, 33] = value
    broken[:, :, 50:52] = value
    found = find_defects(ProjectionSet(broken, SCAN))
    truth = np.zeros(SCAN.detector_shape, dtype=bool)
    truth[20] = truth[:, 33] = truth[:, 50:52] = True
    assert found.rows == (20,)
    assert found.columns == (33, 50, 51)
    np.testing.assert_array_equal(found.mask & ~truth, False)
    np.testing.assert_array_equal(found.mask[truth], True)


@pytest.mark.parametrize("kind", ["stuck", "off", "flickering"])
def test_single_pixels_are_found(kind):
    rng = np.random.default_rng(1)
    broken = with_noise(1e5)
    places = [(12, 40), (25, 30), (30, 51), (38, 44), (45, 37)]
    for row, column in places:
        if kind == "stuck":
            broken[:, row, column] = broken[:, row, column].mean()
        elif kind == "off":
            broken[:, row, column] += 0.8
        else:
            broken[:, row, column] = 8 * rng.random(SCAN.n_views)
    found = find_defects(ProjectionSet(broken, SCAN))
    assert sorted(map(tuple, np.argwhere(found.mask).tolist())) == places
    assert found.n_single == len(places)


def test_too_few_views_tell_nothing():
    few = ProjectionSet(np.zeros((4, 60, 80)), SCAN.select([0, 1, 2, 3]))
    assert not find_defects(few).mask.any()


def test_repair_is_exact_where_the_shadow_is_straight():
    row, column = np.indices((10, 12))
    ramp = np.stack([0.1 * row + 0.2 * column + view for view in range(3)]).astype(np.float32)
    mask = np.zeros((10, 12), dtype=bool)
    mask[4] = mask[:, 6:8] = mask[8, 2] = True
    broken = np.where(mask, np.float32(99.0), ramp)
    np.testing.assert_allclose(repaired(broken, mask), ramp, atol=1e-5)
    assert broken.max() == 99.0


def test_repair_at_the_edge_repeats_the_nearest():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    mask = np.zeros((3, 4), dtype=bool)
    mask[:, 0] = True
    np.testing.assert_array_equal(repaired(image, mask)[0, :, 0], image[0, :, 1])
    with pytest.raises(ValueError, match="nothing is left to repair them from"):
        repaired(image, np.ones((3, 4), dtype=bool))
